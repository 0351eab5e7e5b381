/** The words of a report in one language: a text pack with a closed placeholder grammar, `{name}` and nothing else. */
import { AuditkeepError } from '../../errors.ts';
import { loadTexts } from './template.ts';

/** The text of a key with its placeholders filled in. @throws TEMPLATE_INVALID for a key or placeholder not known */
export type Texts = (key: string, values?: Readonly<Record<string, string | number>>) => string;

/** Loads the pack of a locale. @throws TEMPLATE_INVALID */
export async function openTexts(locale: 'en'): Promise<Texts> {
  const pack = await loadTexts(locale);
  return (key, values = {}) => {
    const text = pack[key];
    if (text === undefined) throw unknown(`the text '${key}'`);
    return text.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = values[name];
      if (value === undefined) throw unknown(`the placeholder {${name}} of '${key}'`);
      return String(value);
    });
  };
}

/** A count as people read it: 3,412; a dash where it is not known. */
export function formatCount(count: number | null): string {
  if (count === null) return '–';
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

function unknown(what: string): AuditkeepError {
  return new AuditkeepError('TEMPLATE_INVALID', {
    message: `${what} is not known`,
    hint: 'compare templates/text/en/report.yaml with the release',
  });
}
