/** Extras of the package, which some models and devices need: installed into the managed environment when they are first needed. */
import fs from 'node:fs/promises';
import path from 'node:path';

import { t } from '../l10n';
import { notSetUp, type Daemon } from './daemon';
import { freeBytesIn, pipInstall, type InstallOptions } from './install';
import { pinned } from './pinned';
import { run } from './processes';
import { StepProgress } from './progress';
import { findWheel, type Home } from './resolve';

type Options = Pick<InstallOptions, 'signal' | 'log'> & { readonly progress: (message: string) => void };

/** Throws where the user chose an interpreter, which is the user's to change, and what `install` throws. */
export async function addExtras(home: Home, daemon: Daemon, extras: readonly string[], { signal, log, progress: report }: Options): Promise<void> {
  const interpreter = await daemon.interpreter();
  const wheel = await findWheel(home.bundled);
  const wanted = `[${extras.join(',')}]`;
  if (interpreter.kind === 'ready' && interpreter.origin === 'setting') {
    throw new Error(t('models.ownPython', { command: `${interpreter.python} -m pip install "${wheel ?? 'green-code'}${wanted}"` }));
  }
  if (interpreter.kind !== 'ready' || wheel === null) {
    throw new Error(notSetUp());
  }
  const temporary = path.join(interpreter.folder, 'tmp');
  const freeBytes = freeBytesIn;
  const progress = new StepProgress(report, () => freeBytes(home.storage));
  try {
    await fs.mkdir(temporary, { recursive: true });
    progress.begin(t('models.installing'));
    await pipInstall(interpreter.python, await pinned(wheel, extras), temporary, { ...home, signal, log, progress, run, freeBytes, release: () => Promise.resolve() });
  } finally {
    progress.end();
    await fs.rm(temporary, { recursive: true, force: true });
  }
}
