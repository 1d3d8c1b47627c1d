import { describe, expect, it } from 'vitest';

import { redact } from '../../src/commands/redact';

const alice = { home: '/home/alice', name: 'alice' };
const windows = { home: 'C:\\Users\\Alice Smith', name: 'asmith' };

describe('a text for others to read', () => {
  it.each([
    ['cache: /home/alice/.cache/green-code, 63 GiB free', 'cache: ~/.cache/green-code, 63 GiB free'],
    ['it is /home/alice.', 'it is ~.'],
    ['"/home/alice": file:///home/alice/a.py', '"~": file://~/a.py'],
    ['/home/alice2/x, /home/alice-old, /home/alice.bak', '/home/alice2/x, /home/alice-old, /home/alice.bak'],
    ['/mnt/home/alice/x', '/mnt/home/<user>/x'],
    ['socket /tmp/alice/engine.sock in /data/alice', 'socket /tmp/<user>/engine.sock in /data/<user>'],
    ['malice in /srv/alice-project: alice, alice.py', 'malice in /srv/alice-project: alice, alice.py'],
  ])('has ~ for the home folder, and no user name in a path: %s', (text, redacted) => expect(redact(text, alice)).toBe(redacted));

  it.each([
    ['python at c:\\users\\alice smith\\venv\\python.exe', 'python at ~\\venv\\python.exe'],
    ['{"path": "C:\\\\Users\\\\Alice Smith\\\\x"}', '{"path": "~\\\\x"}'],
    ['C:/Users/Alice Smith/x and file:///c%3A/Users/Alice Smith/x', '~/x and file:///~/x'],
    ['D:\\work\\ASmith\\x, D:\\asmith', 'D:\\work\\<user>\\x, D:\\<user>'],
  ])('on Windows in any case and with either slash: %s', (text, redacted) => expect(redact(text, windows)).toBe(redacted));

  it('keeps words that contain a short name', () => {
    const text = 'a meter: n/a, and/or an average at /a/b, /var/a';
    expect(redact(text, { home: '/home/a', name: 'a' })).toBe('a meter: n/a, and/or an average at /<user>/b, /var/<user>');
  });

  it.each(['/', '', 'C:\\', '\\'])('does not replace a root folder: %j', (home) => {
    const text = '/usr/bin/python C:\\Python\\python.exe';
    expect(redact(text, { home, name: '' })).toBe(text);
  });

  it('treats names as text, not as patterns', () => {
    expect(redact('/srv/a.b+c/x /srv/aXb+c/x', { home: '/home/a.b+c', name: 'a.b+c' })).toBe('/srv/<user>/x /srv/aXb+c/x');
  });
});
