/** Parts of a server's address. The front says what is wrong with one. Must not use the editor's API. */

/** Scheme, host and port, to which consent and API key belong; null where there is no address of a server. */
export function originOf(address: string): string | null {
  const url = URL.canParse(address) ? new URL(address) : null;
  return url !== null && ['http:', 'https:'].includes(url.protocol) ? url.origin : null;
}

/** The host with its port, as the user knows it; empty where there is none. */
export const hostOf = (address: string): string => (originOf(address) ?? '').replace(/^https?:\/\//, '');

/** A line of a protocol's trace without the API key that it may hold. */
export const withoutApiKey = (line: string): string => line.replace(/("api_key"\s*:\s*")(?:[^"\\]|\\.)*/g, '$1…');
