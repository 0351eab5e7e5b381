/** The files that an OSCAL document refers to, each with its hash. Pure. */
import { type ControlModel, controlTemplatePath, frameworkTemplatePath } from '../../model/control-model.ts';
import type { ReportModel } from '../../model/model.ts';
import { type Draft, idOf, markup, prop } from './vocabulary.ts';

/** Paths are relative to oscal/ in a bundle. */
const ROOT = '..';
/** RFC 9512. */
const TEMPLATE_TYPE = 'application/yaml';

/** model.json, the framework template, and the evidence of the given controls. */
export function backMatterOf(model: ReportModel, hash: string, controls: readonly ControlModel[]): Draft {
  const { framework } = model;
  return {
    resources: [
      {
        uuid: idOf(model, 'resource', 'model'),
        title: 'model.json',
        description: 'The report as data: everything here follows from it, and the signed decisions name its hash.',
        rlinks: [rlink('model.json', 'application/json', hash)],
      },
      {
        uuid: frameworkResourceId(model),
        title: markup(`Framework template ${framework.id}, version ${framework.version}`),
        description: markup(framework.introduction),
        rlinks: [rlink(frameworkTemplatePath(framework.id), TEMPLATE_TYPE, framework.templateSha256)],
        citation: { text: markup(framework.citation) },
      },
      ...controls.map((control) => templateResource(model, control)),
      ...controls.flatMap((control) => [evidenceResource(model, control), sampleResource(model, control)]),
    ],
  };
}

function templateResource(model: ReportModel, { id, version, title, ipe }: ControlModel): Draft {
  return {
    uuid: idOf(model, 'resource', 'control', id),
    title: markup(`Control template ${id}, version ${version}`),
    description: markup(title),
    rlinks: [rlink(controlTemplatePath(id), TEMPLATE_TYPE, ipe.templateSha256)],
  };
}

export function evidenceResourceId(model: ReportModel, control: string): string {
  return idOf(model, 'resource', 'evidence', control);
}

/** All exceptions of a control; nothing where there are none. */
function evidenceResource(model: ReportModel, { id, exceptions }: ControlModel): Draft {
  const { evidence } = exceptions;
  if (evidence === null) return null;
  return {
    uuid: evidenceResourceId(model, id),
    title: markup(`Exceptions of ${id}`),
    description: markup(exceptions.meaning),
    props: [prop('rows', evidence.rows), prop('bytes', evidence.bytes)],
    rlinks: [rlink(evidence.path, 'text/csv', evidence.sha256)],
  };
}

export function sampleResourceId(model: ReportModel, control: string): string {
  return idOf(model, 'resource', 'sample', control);
}

/** The sample of a control's population; nothing where there is none. */
function sampleResource(model: ReportModel, { id, ipe }: ControlModel): Draft {
  const sample = ipe.sample ?? null;
  if (sample === null || sample.evidence === null) return null;
  const { evidence, seed } = sample;
  return {
    uuid: sampleResourceId(model, id),
    title: markup(`Sample of ${id}`),
    description: 'Keys of the population, drawn by the seed.',
    props: [prop('rows', evidence.rows), prop('bytes', evidence.bytes), prop('sample-seed', seed)],
    rlinks: [rlink(evidence.path, 'text/csv', evidence.sha256)],
  };
}

/** What the report was planned by: it has no OSCAL assessment plan. */
export function frameworkResourceId(model: ReportModel): string {
  return idOf(model, 'resource', 'framework');
}

function rlink(path: string, mediaType: string, sha256: string): Draft {
  return { href: `${ROOT}/${path}`, 'media-type': mediaType, hashes: [{ algorithm: 'SHA-256', value: sha256 }] };
}
