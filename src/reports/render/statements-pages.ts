/** What persons signed beside the controls: attestations of requirements, and waivers of exceptions, with who and until when. */
import { COLOR } from '../../pdf/page.ts';
import { ensureRoom, heading, measure, type Sheet, write } from '../../pdf/sheet.ts';
import { drawFields, type Field, measureFields } from '../../pdf/table.ts';
import type { ControlModel, WaiverModel } from '../model/control-model.ts';
import type { ReportModel } from '../model/model.ts';
import { formatCount, type Texts } from '../template/texts.ts';
import { scopeText } from './control-pages.ts';

/** Draws the chapter from the current position on. */
export function drawStatements(sheet: Sheet, model: ReportModel, texts: Texts): void {
  heading(sheet, 1, texts('statements.heading'));
  write(sheet, texts('statements.introduction'), { color: COLOR.quiet });
  const attested = model.requirements.filter(({ attestation }) => attestation !== null);
  drawSection(sheet, texts('statements.attestations'), {
    none: texts('statements.noAttestation'),
    blocks: attested.map((requirement) => attestationBlock(requirement, texts)),
  });
  const waived = model.controls.flatMap((control) => control.waivers.map((waiver) => ({ control, waiver })));
  drawSection(sheet, texts('statements.waivers'), {
    none: texts('statements.noWaiver'),
    blocks: waived.map(({ control, waiver }) => waiverBlock(control, waiver, texts)),
  });
}

interface Block {
  readonly title: string;
  readonly fields: readonly Field[];
}

function drawSection(sheet: Sheet, title: string, content: { none: string; blocks: readonly Block[] }): void {
  heading(sheet, 2, title, 100);
  if (content.blocks.length === 0) write(sheet, content.none);
  for (const block of content.blocks) {
    const height = measureFields(sheet, block.fields) + measure(sheet, block.title) + 16;
    if (height < 500) ensureRoom(sheet, height);
    heading(sheet, 3, block.title, 60);
    drawFields(sheet, block.fields);
  }
}

function attestationBlock(requirement: ReportModel['requirements'][number], texts: Texts): Block {
  const { attestation } = requirement;
  const title = `${requirement.citation}  ${requirement.title}`;
  if (attestation === null) return { title, fields: [] };
  const period = { start: attestation.periodStart, end: attestation.periodEnd };
  return {
    title,
    fields: [
      { label: texts('statement.outcome'), value: texts(`outcome.${attestation.outcome}`) },
      { label: texts('statement.text'), value: attestation.statement },
      { label: texts('statement.by'), value: attestation.by },
      { label: texts('statement.at'), value: attestation.at },
      { label: texts('statement.period'), value: texts('glance.dates', period) },
      { label: texts('statement.sha256'), value: attestation.sha256, mono: true },
    ],
  };
}

function waiverBlock(control: ControlModel, waiver: WaiverModel, texts: Texts): Block {
  return {
    title: `${control.id.toUpperCase()}  ${control.title}`,
    fields: [
      { label: texts('waiver.covered'), value: texts('waiver.coveredValue', { count: formatCount(waiver.covered) }) },
      { label: texts('waiver.scope'), value: scopeText(waiver.scope, texts) },
      { label: texts('waiver.reason'), value: waiver.reason },
      { label: texts('waiver.expires'), value: waiver.expiresAt },
      { label: texts('waiver.signers'), value: waiver.signers.join('\n') },
      { label: texts('statement.sha256'), value: waiver.sha256, mono: true },
      { label: texts('waiver.approval'), value: waiver.approvalSha256, mono: true },
    ],
  };
}
