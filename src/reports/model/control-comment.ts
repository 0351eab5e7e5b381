/**
 * Comments on single controls of a report: lines `[ac-02] why` after the comment on the whole, in the one text that is signed,
 * printed and stored with a decision. Pure.
 */
import { AuditkeepError } from '../../errors.ts';

export interface ControlComment {
  readonly control: string;
  readonly comment: string;
}

const LINE = /^\[([a-z]{2}-\d{2})\] (.+)$/;

/**
 * One text of a comment on the whole and comments on controls; null for none of either.
 * @param known ids of the report's controls
 * @throws INPUT_INVALID for a control that the report has not, one that is named twice, and a comment without words or of lines
 */
export function commentText(
  whole: string | null,
  comments: readonly ControlComment[],
  known: readonly string[],
): string | null {
  const lines = comments.map(({ control, comment }, index) => {
    const words = comment.trim();
    if (!known.includes(control)) throw refused(`the report has no control '${control}'`);
    if (words === '' || /\p{Cc}/u.test(words)) throw refused(`the comment on ${control} is not one line of text`);
    const again = comments.findIndex((other) => other.control === control) !== index;
    if (again) throw refused(`${control} is commented on twice`);
    return `[${control}] ${words}`;
  });
  const text = [...(whole === null ? [] : [whole]), ...lines].join('\n');
  return text === '' ? null : text;
}

function refused(message: string): AuditkeepError {
  return new AuditkeepError('INPUT_INVALID', { message, hint: 'see its controls with `auditkeep report show ID`' });
}

/** The opposite of commentText, of any stored comment: what is no comment on a control is on the whole. */
export function splitComment(text: string | null): {
  readonly whole: string | null;
  readonly controls: readonly ControlComment[];
} {
  const lines = (text ?? '').split('\n');
  const controls = lines.flatMap((line) => {
    const [, control, comment] = LINE.exec(line) ?? [];
    return control === undefined || comment === undefined ? [] : [{ control, comment }];
  });
  const whole = lines
    .filter((line) => !LINE.test(line))
    .join('\n')
    .trim();
  return { whole: whole === '' ? null : whole, controls };
}
