/** Parts of a serving engine's address. The front says what is wrong with one. Must not use the editor's API. */

/** Scheme, host and port, to which consent and token belong; null where there is no address of a server. */
export function originOf(address: string): string | null {
  const url = URL.canParse(address) ? new URL(address) : null;
  return url !== null && ['http:', 'https:'].includes(url.protocol) ? url.origin : null;
}

/** The host with its port, as the user knows it; empty where there is none. */
export const hostOf = (address: string): string => (originOf(address) ?? '').replace(/^https?:\/\//, '');

/** A line of a protocol's trace without the token that it may hold. */
export const withoutToken = (line: string): string => line.replace(/("token"\s*:\s*")(?:[^"\\]|\\.)*/g, '$1…');
