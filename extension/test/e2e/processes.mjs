/** Our own child processes, found by what only they have: the runtime folder of this test in their environment. */
import fs from 'node:fs';

/** Process ids of `python -m green_code WHAT` of this test; all of its processes if WHAT is left out. */
export function greenCodeProcesses(runtime, what) {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        const environment = fs.readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
        const command = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const ours = environment.includes(`GREEN_CODE_RUNTIME_DIR=${runtime}`) && command.includes('green_code');
        return ours && (what === undefined || command.includes(what));
      } catch {
        return false; // ended meanwhile, or not ours to read
      }
    })
    .map(Number);
}

export function kill(pids) {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // ended meanwhile
    }
  }
}
