/** The coverage matrix: which requirement of which framework is answered how far, and by which controls. Pure. */
import type { FrameworkTemplate, TemplateSet } from './template.ts';

type Coverage = FrameworkTemplate['requirements'][number]['coverage'];

export interface FrameworkCoverage {
  readonly framework: string;
  readonly name: string;
  readonly counts: Readonly<Record<Coverage, number>>;
  readonly requirements: readonly {
    readonly id: string;
    readonly citation: string;
    readonly title: string;
    readonly coverage: Coverage;
    readonly controls: readonly string[];
    readonly note: string;
  }[];
}

/** Every requirement of every framework, in the order of the files. */
export function coverageOf(set: TemplateSet): FrameworkCoverage[] {
  return [...set.frameworks.values()].map(({ id, name, requirements }) => {
    const count = (wanted: Coverage) => requirements.filter(({ coverage }) => coverage === wanted).length;
    return {
      framework: id,
      name,
      counts: { automated: count('automated'), partial: count('partial'), manual: count('manual') },
      requirements: requirements.map(({ id: requirement, citation, title, coverage, controls, note }) => {
        return { id: requirement, citation, title, coverage, controls, note };
      }),
    };
  });
}

/** The matrix as text: a line a requirement. */
export function coverageText(frameworks: readonly FrameworkCoverage[]): string {
  return frameworks
    .map(({ framework, name, counts, requirements }) => {
      const width = Math.max(...requirements.map(({ id }) => id.length));
      const lines = requirements.map(({ id, coverage, controls, title }) => {
        const by = controls.length === 0 ? 'attested by a person' : controls.join(' ');
        return `  ${id.padEnd(width)}  ${coverage.padEnd(9)}  ${title}: ${by}`;
      });
      const { automated, partial, manual } = counts;
      return [`${framework} (${name}): ${automated} automated, ${partial} partial, ${manual} manual`, ...lines].join(
        '\n',
      );
    })
    .join('\n\n');
}
