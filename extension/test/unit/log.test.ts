import { afterEach, expect, it, vi } from 'vitest';

import { COMMANDS } from '../../src/ids';
import { Channels } from '../../src/log';
import { commands, window } from './vscode';

afterEach(() => void vi.restoreAllMocks());

/** Channels whose notifications are all answered with `answer`, and the effects. */
function answered(answer: string | undefined) {
  const shown: string[] = [];
  const made = window.createOutputChannel;
  vi.spyOn(window, 'createOutputChannel').mockImplementation((name: string) => ({ ...made(name), show: () => void shown.push(name) }));
  const notified = vi.spyOn(window, 'showErrorMessage').mockResolvedValue(answer);
  const done = vi.spyOn(commands, 'executeCommand');
  return { channels: new Channels(), shown, notified, done };
}

it.each([
  ['extension', 'Green Code'],
  ['engine', 'Green Code Engine'],
] as const)('Show Log opens the channel that has the cause: %s', async (cause, name) => {
  const { channels, shown, done } = answered('Show Log');
  channels.showError('It does not start.', [], cause);
  await vi.waitFor(() => expect(shown).toEqual([name]));
  expect(done).not.toHaveBeenCalled();
});

it('an action runs with its arguments, and opens no log', async () => {
  const { channels, shown, done } = answered('Set Up');
  channels.showError('Nothing is set up.', [{ title: 'Set Up', command: COMMANDS.setUp, args: ['anew'] }]);
  await vi.waitFor(() => expect(done.mock.calls).toEqual([[COMMANDS.setUp, 'anew']]));
  expect(shown).toEqual([]);
});

it('an error is shown once, until a start succeeds', () => {
  const { channels, notified } = answered(undefined);
  channels.showError('It ended.');
  channels.showError('It ended.');
  channels.showError('It ended again.');
  expect(notified).toHaveBeenCalledTimes(2);
  channels.resetShown();
  channels.showError('It ended.');
  expect(notified).toHaveBeenCalledTimes(3);
});
