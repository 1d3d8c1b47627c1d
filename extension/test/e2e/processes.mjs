/** Processes of the test, found in /proc. */
import fs from 'node:fs';

function processes(isOurs) {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return isOurs(pid, fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0'));
      } catch {
        return false; // ended meanwhile, or not readable
      }
    })
    .map(Number);
}

/** Processes of `python -m green_code WHAT` with this test's runtime folder in their environment; all if WHAT is omitted. */
export function greenCodeProcesses(runtime, what) {
  return processes((pid, command) => {
    const environment = fs.readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    const ours = environment.includes(`GREEN_CODE_RUNTIME_DIR=${runtime}`) && command.includes('green_code');
    return ours && (what === undefined || command.includes(what));
  });
}

/** Processes that were started from a folder. */
export const processesFrom = (folder) => processes((_, command) => command.some((word) => word.startsWith(folder)));

/** Network sockets of a process in any state, without Unix sockets. */
export function networkSockets(pid) {
  const inodes = new Set(
    ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((kind) =>
      fs.readFileSync(`/proc/${pid}/net/${kind}`, 'utf8').trim().split('\n').slice(1).map((line) => line.trim().split(/\s+/)[9])),
  );
  return fs.readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return inodes.has(/^socket:\[(\d+)\]$/.exec(fs.readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]);
    } catch {
      return false; // closed meanwhile
    }
  });
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
