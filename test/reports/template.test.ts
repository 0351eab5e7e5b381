import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseControlSql } from '../../src/reports/template/control-sql.ts';
import { coverageOf, coverageText } from '../../src/reports/template/coverage.ts';
import { loadTemplates, selectFramework, TEMPLATES_FOLDER } from '../../src/reports/template/template.ts';

const code = (value: string): unknown => expect.objectContaining({ code: value });

describe('the shipped templates', () => {
  it('rest every framework on at least four controls and print every requirement', async () => {
    const set = await loadTemplates();
    expect([...set.frameworks.keys()]).toEqual(['gdpr', 'hipaa', 'iso-27001', 'sox']);
    for (const id of set.frameworks.keys()) {
      const { framework, controls } = selectFramework(set, id);
      expect(controls.length).toBeGreaterThanOrEqual(4);
      expect(framework.requirements.some((requirement) => requirement.coverage === 'manual')).toBe(true);
    }
  });

  it('give a control the values of a law, within its bounds', async () => {
    const set = await loadTemplates();
    const daysOf = (id: string) =>
      selectFramework(set, id).controls.find((control) => control.id === 'pr-05')?.parameters['discovery_days']
        ?.default;
    expect([daysOf('gdpr'), daysOf('hipaa')]).toEqual([0, 60]);
  });

  it('answer every requirement that the coverage matrix shows as it shows it', async () => {
    const matrix = coverageOf(await loadTemplates());
    expect(matrix.map(({ framework, counts }) => [framework, counts])).toEqual([
      ['gdpr', { automated: 1, partial: 12, manual: 1 }],
      ['hipaa', { automated: 6, partial: 9, manual: 3 }],
      ['iso-27001', { automated: 3, partial: 10, manual: 21 }],
      ['sox', { automated: 8, partial: 6, manual: 1 }],
    ]);
    const text = coverageText(matrix);
    for (const { requirements } of matrix) {
      for (const { id, controls } of requirements) {
        const line = text.split('\n').find((other) => other.trim().startsWith(`${id} `));
        expect(line).toContain(controls.length === 0 ? 'attested by a person' : controls.join(' '));
      }
    }
  });

  it('refuses a framework that is not there, naming those that are', async () => {
    const set = await loadTemplates();
    const hint: unknown = expect.stringContaining('gdpr');
    expect(() => selectFramework(set, 'pci')).toThrow(expect.objectContaining({ code: 'TEMPLATE_INVALID', hint }));
  });
});

describe('a templates folder', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'auditkeep-templates-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const changed = async (file: string, change: (text: string) => string) => {
    const copy = await mkdtemp(join(folder, 'copy-'));
    await cp(TEMPLATES_FOLDER, copy, { recursive: true });
    const before = await readFile(join(copy, file), 'utf8');
    const after = change(before);
    expect(after).not.toBe(before);
    await writeFile(join(copy, file), after);
    return loadTemplates(copy);
  };

  it.each([
    ['controls/ac-02.yaml', 'an unknown key', (text: string) => `${text}\nextra: 1\n`],
    ['controls/ac-02.yaml', 'a missing key', (text: string) => text.replace(/^severity: .*\n/m, '')],
    ['controls/ac-02.yaml', 'another id than its file', (text: string) => text.replace('id: ac-02', 'id: ac-99')],
    ['controls/ac-06.yaml', 'a default out of bounds', (text: string) => text.replace('default: 600000', 'default: 1')],
    [
      'controls/ac-06.yaml',
      'a sample that may be larger than a thousand',
      (text: string) =>
        text.replace(
          'parameters:',
          'parameters:\n  sample_size: { type: integer, default: 25, min: 1, max: 1001, unit: keys, meaning: x }',
        ),
    ],
    ['controls/ac-06.yaml', 'an undeclared parameter', (text: string) => text.replace(':min_iterations', ':other')],
    [
      'controls/pr-06.yaml',
      'an id printed as it is',
      (text: string) => text.replace('name: key,', 'name: key_id,').replaceAll('a.key_id as key,', 'a.key_id,'),
    ],
    [
      'controls/ac-08.yaml',
      'a key of a person printed as it is',
      (text: string) =>
        text.replace('{ name: actor, label: Actor, kind: pseudonym }', '{ name: actor_key, label: Actor, kind: text }'),
    ],
    ['controls/ac-02.yaml', 'broken YAML', (text: string) => `${text}\n  : : [`],
    ['frameworks/gdpr.yaml', 'a control twice', (text: string) => text.replace('[pr-04]', '[pr-04, pr-04]')],
    ['frameworks/gdpr.yaml', 'a requirement twice', (text: string) => text.replace('id: art-20', 'id: art-25')],
    [
      'frameworks/gdpr.yaml',
      'a parameter out of its bounds',
      (text: string) => text.replace('discovery_days: 0', 'discovery_days: 400'),
    ],
    [
      'frameworks/gdpr.yaml',
      'a parameter that there is not',
      (text: string) => text.replace('discovery_days: 0', 'other_days: 0'),
    ],
    ['frameworks/gdpr.yaml', 'parameters of no control', (text: string) => text.replace('pr-05: {', 'pr-99: {')],
    ['frameworks/gdpr.yaml', 'a control that does not exist', (text: string) => text.replace('[pr-04]', '[pr-99]')],
    [
      'frameworks/gdpr.yaml',
      'manual with controls',
      (text: string) => text.replace('controls: []', 'controls: [ac-02]'),
    ],
  ])('%s with %s is refused', async (file, _what, change) => {
    await expect(changed(file, change)).rejects.toThrow(code('TEMPLATE_INVALID'));
  });

  it('may say how many keys are sampled, which no statement uses', async () => {
    const size = '  sample_size: { type: integer, default: 40, min: 1, max: 1000, unit: keys, meaning: x }';
    const set = await changed('controls/ac-06.yaml', (text) => text.replace('parameters:', `parameters:\n${size}`));
    expect(set.controls.get('ac-06')?.parameters['sample_size']?.default).toBe(40);
  });

  it('is refused with a control that no framework uses', async () => {
    const unused = (text: string) => text.replaceAll(/(, )?ac-12/g, '');
    const copy = await mkdtemp(join(folder, 'copy-'));
    await cp(TEMPLATES_FOLDER, copy, { recursive: true });
    for (const framework of ['gdpr', 'sox', 'hipaa', 'iso-27001']) {
      const file = join(copy, 'frameworks', `${framework}.yaml`);
      await writeFile(file, unused(await readFile(file, 'utf8')));
    }
    await expect(loadTemplates(copy)).rejects.toThrow(/no framework uses control 'ac-12'/);
  });

  it('is refused with SQL that is no plain select', async () => {
    const change = (text: string) => text.replace("select 'account '", "delete 'account '");
    await expect(changed('controls/ac-02.yaml', change)).rejects.toThrow(code('TEMPLATE_SQL'));
  });
});

describe('parseControlSql', () => {
  it('numbers named parameters, each once, and leaves casts and strings alone', () => {
    const statement = parseControlSql(
      "select ':a' as x, e.b::text from facts.event e where e.t >= :from::timestamptz and e.t < :to and e.u >= :from",
      'test',
    );
    expect(statement.parameters).toEqual(['from', 'to']);
    expect(statement.sql).toBe(
      "select ':a' as x, e.b::text from facts.event e where e.t >= $1::timestamptz and e.t < $2 and e.u >= $1",
    );
  });

  it.each([
    ['two statements', 'select 1 as n from facts.event; select 2'],
    ['a write', "update facts.event set event_type = 'x'"],
    ['a write in a named query', 'with gone as (delete from facts.event returning 1) select * from gone'],
    ['a lock', 'select * from facts.event e for update'],
    ['another schema', 'select * from audit.audit_log'],
    [
      'another schema in a subquery',
      'select 1 from facts.event e where exists (select from security_confidential.users)',
    ],
    ['a catalog', 'select relname from pg_class'],
    ['a catalog after a comma', 'select 1 from facts.event e, pg_catalog.pg_class c'],
    ['the information schema', 'select 1 from facts.event e, information_schema.tables t'],
    ['a function that waits', 'select pg_sleep(10)'],
    ['a function that sets', "select set_config('role', 'postgres', true)"],
    ['a function that reads files', "select pg_read_file('/etc/passwd')"],
    ['a qualified function', "select pg_catalog.set_config('role', 'x', true)"],
    ['a function of the facts', 'select * from facts.count_events()'],
    ['a function that makes rows', 'select generate_series(1, 10)'],
    ['recursion', 'with recursive r as (select 1 as n union all select n + 1 from r) select * from r'],
    ['a quoted name', 'select * from facts."event"'],
    ['a dollar quote', 'select $$x$$'],
    ['an escape string', "select e'\\'' from facts.event"],
    ['a comment that hides', 'select 1 /* x */ from facts.event'],
    ['a comment that a return ends', 'select 1 --x\r, pg_sleep(1)'],
    ['an early end of the wrapper', 'select 1 as n from facts.event) x, (select 2'],
    ['nothing', '   '],
  ])('refuses %s', (_what, sql) => {
    expect(() => parseControlSql(sql, 'test')).toThrow(code('TEMPLATE_SQL'));
  });
});
