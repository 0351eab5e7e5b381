/** placeholder */
export interface EmbeddedServer {
  readonly url: string;
}
export async function startEmbedded(home: string): Promise<EmbeddedServer> {
  throw new Error(home);
}
