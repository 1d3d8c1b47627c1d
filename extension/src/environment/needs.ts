/**
 * What Set Up takes, about: packages of 35 MB and a model of 240 MB are downloaded; on the disk are an environment of 430 MB, for a
 * while pip's downloads, and the model's converted weights of 170 MB (measured on Linux on x64, December 2026). Must not use the editor's API.
 */
export const NEEDS = {
  downloadBytes: 280e6,
  diskBytes: 0.9e9,
  /** At 80 Mbit/s, with an ordinary SSD; most of it is the download. */
  minutes: 1,
} as const;
