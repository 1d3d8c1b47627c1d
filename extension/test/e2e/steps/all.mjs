/** The steps of the end-to-end test, in order: later ones start from the state that earlier ones leave. */
import { steps as typing } from './typing.mjs';
import { steps as threshold } from './threshold.mjs';
import { steps as pages } from './pages.mjs';
import { steps as insertion } from './insertion.mjs';
import { steps as recovery } from './recovery.mjs';
import { steps as setup } from './setup.mjs';
import { steps as models } from './models.mjs';
import { steps as endpoint } from './endpoint.mjs';
import { steps as uninstall } from './uninstall.mjs';

export const steps = [...typing, ...threshold, ...pages, ...insertion, ...recovery, ...setup, ...models, ...endpoint, ...uninstall];
