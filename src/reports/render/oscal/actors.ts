/** Who and what took part: persons that the model names, the engine, and the database it read. Pure. */
import { SERVICE_PERSON } from '../../../persons/roles.ts';
import type { ReportModel } from '../../model/model.ts';
import { type Draft, idOf, markup, OSCAL_VERSION, oneLine, prop } from './vocabulary.ts';

const ROLES = [
  { id: 'generator', title: 'Generated the report' },
  { id: 'attester', title: 'Signed an attestation' },
  { id: 'waiver-signer', title: 'Signed a waiver' },
] as const;
type RoleId = (typeof ROLES)[number]['id'];

/** Title, times, persons and how to read the document. */
export function metadataOf(model: ReportModel, title: string): Draft {
  const { framework, period, generated, report } = model;
  const persons = personsOf(model);
  const used = ROLES.filter(({ id }) => persons.some((person) => person.role === id));
  const emails = [...new Set(persons.map(({ email }) => email))].sort();
  return {
    title: markup(`${title}: ${framework.name}, ${period.startDate} to ${period.endDate}`),
    'last-modified': generated.at,
    version: String(report.version),
    'oscal-version': OSCAL_VERSION,
    props: [
      prop('report-id', report.id),
      prop('period-start', period.startDate),
      prop('period-end', period.endDate),
      prop('period-zone', period.zone),
      prop('interim', period.interim),
      prop('engine-version', generated.engineVersion),
    ],
    roles: used,
    parties: emails.map((email) => ({
      uuid: partyId(model, email),
      type: 'person',
      name: oneLine(email),
      'email-addresses': isAddress(email) ? [email] : [],
    })),
    'responsible-parties': used.map(({ id }) => ({
      'role-id': id,
      'party-uuids': emails
        .filter((email) => persons.some((person) => person.role === id && person.email === email))
        .map((email) => partyId(model, email)),
    })),
    remarks:
      'Made from model.json alone, and made again by whoever verifies the bundle. Paths are those of the parts of a report bundle.',
  };
}

interface NamedPerson {
  readonly role: RoleId;
  readonly email: string;
}

function personsOf(model: ReportModel): NamedPerson[] {
  const { by } = model.generated;
  const attesters = model.requirements.flatMap(({ attestation }) => (attestation === null ? [] : [attestation.by]));
  const signers = model.controls.flatMap(({ waivers }) => waivers.flatMap((waiver) => waiver.signers));
  return [
    ...(by === SERVICE_PERSON ? [] : [{ role: 'generator', email: by } as const]),
    ...attesters.map((email) => ({ role: 'attester', email }) as const),
    ...signers.map((email) => ({ role: 'waiver-signer', email }) as const),
  ];
}

function isAddress(email: string): boolean {
  return /^[^\s@]+@[^\s@]+$/.test(email);
}

/** The id of the party that an e-mail address stands for. */
export function partyId(model: ReportModel, email: string): string {
  return idOf(model, 'party', email);
}

/** The engine as the actor behind observations, findings and risks. */
export function engineOrigin(model: ReportModel): Draft {
  return { actors: [{ type: 'tool', 'actor-uuid': engineId(model) }] };
}

function engineId(model: ReportModel): string {
  return idOf(model, 'component', 'engine');
}

/** The database as the subject of observations. */
export function databaseSubject(model: ReportModel): Draft {
  return { 'subject-uuid': databaseId(model), type: 'component' };
}

function databaseId(model: ReportModel): string {
  return idOf(model, 'component', 'database');
}

/** The database that was read. */
export function databaseComponent(model: ReportModel): Draft {
  const { source } = model;
  return {
    uuid: databaseId(model),
    type: 'this-system',
    title: markup(`Database ${source.database}`),
    description: 'The PostgreSQL database that every figure was read from, in one snapshot.',
    props: [
      prop('server-version', source.serverVersion),
      prop('schema-version', source.schemaVersion),
      prop('role', source.role),
      prop('snapshot', source.snapshot),
      prop('chain-size', source.chainSize),
      prop('chain-head-sha256', source.chainHead),
      prop('unsealed-events', source.unsealedEvents),
    ],
    status: { state: 'operational' },
  };
}

/** The engine that evaluated. */
export function assessmentAssets(model: ReportModel): Draft {
  const { engineVersion, nodeVersion } = model.generated;
  return {
    components: [
      {
        uuid: engineId(model),
        type: 'software',
        title: 'auditkeep',
        description: 'The engine that evaluated the controls.',
        props: [{ name: 'version', value: oneLine(engineVersion) }, prop('node-version', nodeVersion)],
        status: { state: 'operational' },
      },
    ],
    'assessment-platforms': [
      {
        uuid: idOf(model, 'platform'),
        title: 'auditkeep',
        'uses-components': [{ 'component-uuid': engineId(model) }],
      },
    ],
  };
}
