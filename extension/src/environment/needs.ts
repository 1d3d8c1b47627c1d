/**
 * What Set Up takes, about: packages of 35 MB and a model, the light one of 250 MB or the standard one of 490 MB, are downloaded; on the disk
 * are an environment of 180 MB, for a while pip's downloads, the model's file and its converted weights (measured on Linux on x64, December
 * 2026). Must not use the editor's API.
 */
export const NEEDS = {
  packagesBytes: 35e6,
  /** With the light model. */
  diskBytes: 0.9e9,
  /** At 80 Mbit/s, with an ordinary SSD; most of it is the download of the model. */
  minutes: 2,
} as const;
