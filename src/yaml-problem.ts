/** What is wrong with a text that is not YAML, for one line of an error. */

/** The parser's first line, which ends with the line and column, without the colon before its excerpt. */
export function yamlProblem(error: unknown): string {
  const [line = ''] = error instanceof Error ? error.message.split('\n') : [String(error)];
  return line.replace(/:$/, '');
}
