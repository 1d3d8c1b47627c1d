/**
 * What Set Up takes on this machine, about. PyPI's PyTorch for Linux on x64 brings CUDA's libraries, whether there is a GPU or not;
 * elsewhere it is one file. Must not use the editor's API.
 */
interface Needs {
  readonly downloadBytes: number;
  /** Of the environment, pip's downloads while it is made, and the model's converted weights. */
  readonly diskBytes: number;
}

/** By platform and processor, in December 2026: packages of 0.15 GB without PyTorch, and the model of 0.25 GB. */
const NEEDS: Readonly<Record<string, Needs>> = {
  'linux-x64': { downloadBytes: 3.3e9, diskBytes: 10e9 },
  'darwin-arm64': { downloadBytes: 0.5e9, diskBytes: 2e9 },
  'win32-x64': { downloadBytes: 0.6e9, diskBytes: 2.4e9 },
};
const OTHERS: Needs = { downloadBytes: 0.7e9, diskBytes: 2.5e9 };

const DOWNLOADED_PER_SECOND = 10e6;
const WRITTEN_PER_SECOND = 40e6;

/** `minutes`: at 80 Mbit/s, with an ordinary SSD. */
export function needs(platform: string = process.platform, processor: string = process.arch): Needs & { readonly minutes: number } {
  const found = NEEDS[`${platform}-${processor}`] ?? OTHERS;
  const seconds = found.downloadBytes / DOWNLOADED_PER_SECOND + found.diskBytes / WRITTEN_PER_SECOND;
  return { ...found, minutes: Math.ceil(seconds / 60) };
}
