/** The requirements of the framework: what they ask, what answers them, and their status. */
import { COLOR } from '../../pdf/page.ts';
import { heading, type Sheet, write } from '../../pdf/sheet.ts';
import { drawTable } from '../../pdf/table.ts';
import type { ReportModel } from '../model/model.ts';
import type { Texts } from '../template/texts.ts';
import { STATUS_COLOR } from './palette.ts';

/** Draws the chapter from the current position on. */
export function drawRequirements(sheet: Sheet, model: ReportModel, texts: Texts): void {
  heading(sheet, 1, texts('summary.heading'));
  write(sheet, model.framework.introduction, { gapAfter: 4 });
  write(sheet, texts('summary.introduction'), { color: COLOR.quiet, gapAfter: 10 });
  drawTable(
    sheet,
    [
      { label: texts('summary.citation'), weight: 17 },
      { label: texts('summary.requirement'), weight: 55 },
      { label: texts('summary.coverage'), weight: 13 },
      { label: texts('summary.controls'), weight: 17 },
      { label: texts('summary.status'), weight: 19 },
    ],
    model.requirements.map((requirement) => [
      { text: requirement.citation },
      { lead: requirement.title, text: textOf(requirement, texts) },
      { text: texts(`coverage.${requirement.coverage}`) },
      { text: requirement.controls.map((id) => id.toUpperCase()).join(', ') },
      { text: texts(`status.${requirement.status}`), badge: STATUS_COLOR[requirement.status] },
    ]),
  );
}

function textOf({ text, note, attestation }: ReportModel['requirements'][number], texts: Texts): string {
  const attested =
    attestation === null
      ? []
      : [texts('summary.attested', { ...attestation, outcome: texts(`outcome.${attestation.outcome}`) })];
  return [text, note, ...attested].join('\n');
}
