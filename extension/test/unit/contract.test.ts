import fs from 'node:fs';
import path from 'node:path';

import type { TextDocument } from 'vscode';
import { beforeEach, describe, expect, it } from 'vitest';

import manifest from '../../../package.json';
import texts from '../../../package.nls.json';
import { COMMANDS, CONTEXTS, ICON, VIEW_THRESHOLD } from '../../src/ids';
import * as protocol from '../../src/protocol';
import { rawSettings, readSettings, serves, SETTING_KEYS, settingsForFront } from '../../src/settings';
import { defaults } from './samples';
import { configuration } from './vscode';

const messages = fs.readFileSync(path.join(import.meta.dirname, '../../../daemon/green_code/link/messages.py'), 'utf8');
const literals = (name: string) => {
  const body = new RegExp(`^${name} = Literal\\[([^\\]]*)\\]`, 'm').exec(messages)?.[1] ?? '';
  return [...body.replace(/#.*$/gm, '').matchAll(/"([^"]+)"/g)].map((match) => match[1]);
};

describe('protocol.ts repeats messages.py', () => {
  it.each([
    ['State', protocol.STATES],
    ['Decoding', protocol.DECODINGS],
    ['StopReason', protocol.STOP_REASONS],
    ['Refusal', protocol.REFUSALS],
  ])('%s', (name, mirrored) => expect([...mirrored]).toEqual(literals(name)));

  it('messages of the front', () => {
    const theirs = [...messages.matchAll(/^((?:LSP|COMMAND)_\w+): Final = "([^"]+)"/gm)].map((match) => [match[1], match[2]]);
    const ours = Object.entries(protocol).filter(([name]) => /^(LSP|COMMAND)_/.test(name));
    expect(Object.fromEntries(ours)).toEqual(Object.fromEntries(theirs));
  });
});

describe('the manifest', () => {
  it('has the version of the daemon', () => {
    const project = fs.readFileSync(path.join(import.meta.dirname, '../../../pyproject.toml'), 'utf8');
    expect(/^version = "(.*)"$/m.exec(project)?.[1]).toBe(manifest.version);
  });

  it('declares the commands of the code, and no other', () => {
    expect(manifest.contributes.commands.map(({ command }) => command).sort()).toEqual(Object.values(COMMANDS).sort());
  });

  it('declares the settings of the code, and no other', () => {
    expect(Object.keys(manifest.contributes.configuration.properties)).toEqual(SETTING_KEYS.map((key) => `greenCode.${key}`));
  });

  it('wakes the extension whatever languages are chosen', () => {
    expect(manifest.activationEvents).toEqual(['onStartupFinished']);
  });

  it('lets a folder that is not trusted set only what can do no harm', () => {
    const restricted = manifest.capabilities.untrustedWorkspaces.restrictedConfigurations;
    expect(SETTING_KEYS.filter((key) => !restricted.includes(`greenCode.${key}`))).toEqual(['statusBar', 'gridIntensity']);
  });

  it('declares the view and the icon', () => {
    expect(manifest.contributes.views.greenCode[0]?.id).toBe(VIEW_THRESHOLD);
    expect(Object.keys(manifest.contributes.icons)).toEqual([ICON.slice(2, -1)]);
  });

  it('links walkthrough steps to commands that exist', () => {
    const { steps } = manifest.contributes.walkthroughs[0]!;
    expect(steps.map(({ id }) => id)).toEqual(['setUp', 'complete', 'threshold', 'report']);
    steps.forEach(({ description }) => {
      const link = /\(command:([\w.]+)\)/.exec((texts as Readonly<Record<string, string>>)[description.slice(1, -1)] ?? '');
      expect(Object.values(COMMANDS), description).toContain(link?.[1]);
    });
  });

  it('has each step of the walkthrough ticked by its own context key', () => {
    const { steps } = manifest.contributes.walkthroughs[0]!;
    expect(Object.fromEntries(steps.map(({ id, completionEvents }) => [id, completionEvents]))).toEqual(
      Object.fromEntries(Object.entries(CONTEXTS).map(([id, key]) => [id, [`onContext:${key}`]])),
    );
  });

  it('names files that exist', () => {
    const files = [manifest.icon, manifest.contributes.viewsContainers.activitybar[0]!.icon, manifest.contributes.icons['green-code-leaf'].default.fontPath];
    const pages = manifest.contributes.walkthroughs.flatMap(({ steps }) => steps.map(({ media }) => media.markdown));
    [...files, ...pages].forEach((file) => expect(fs.existsSync(path.join(import.meta.dirname, '../../..', file)), file).toBe(true));
  });
});

describe('the page of the extension', () => {
  const file = 'extension/README.md';
  const text = fs.readFileSync(path.join(import.meta.dirname, '../../..', file), 'utf8');

  it('is what is packed, and shows without the repository', () => {
    expect(manifest.scripts.package).toContain(`--readme-path ${file}`);
    expect([...text.matchAll(/\]\((?!https:)/g)]).toEqual([]);
    expect(text).not.toContain('![');
  });

  it('names settings and commands that exist, and every command of the palette but the menu', () => {
    const named = [...text.matchAll(/`greenCode\.(\w+)`/g)].map((match) => match[1]);
    expect(named.filter((key) => !(SETTING_KEYS as readonly unknown[]).includes(key))).toEqual([]);
    const titles = Object.entries(texts).filter(([key]) => key.startsWith('command.') && key !== 'command.menu');
    titles.forEach(([, title]) => expect(text).toContain(`**${title}**`));
  });
});

describe('settings', () => {
  beforeEach(() => configuration.reset());

  it('are read whole, without their prefix', () => {
    Object.entries(defaults).forEach(([key, value]) => configuration.user.set(key, value));
    expect(readSettings()).toEqual(defaults);
    configuration.workspace.set('threshold', 0.6);
    expect(readSettings().threshold).toBe(0.6);
  });

  it.each([
    ['threshold', '0.9'],
    ['threshold', null],
    ['threshold', 0.4],
    ['threshold', 1.1],
    ['threshold', NaN],
    ['decoding', 'slow'],
    ['enabled', 'no'],
    ['languages', 'python'],
    ['languages', ['python', 3]],
    ['maxLines', 1.5],
    ['pythonPath', null],
  ])('%s: %j gives way to the default, and stays as written for the front to name', (key, value) => {
    configuration.user.set(key, value);
    expect(readSettings()).toEqual(defaults);
    expect(rawSettings()[key]).toBe(value);
  });
});

describe('the front is sent', () => {
  beforeEach(() => {
    configuration.reset();
    Object.entries(defaults).forEach(([key, value]) => configuration.user.set(key, value));
  });

  it('what every language has, where none differs', () => {
    configuration.languages.set('python', new Map([['completeInStrings', true]]));
    expect(settingsForFront()).toEqual(defaults);
  });

  it('what a chosen language has for itself', () => {
    configuration.languages.set('python', new Map<string, unknown>([['completeInStrings', false], ['maxLines', 5]]));
    configuration.languages.set('java', new Map([['completeInComments', 'no']]));
    configuration.languages.set('go', new Map([['completeInComments', false]]));
    expect(settingsForFront()).toEqual({ ...defaults, '[python]': { completeInStrings: false }, '[java]': { completeInComments: 'no' } });
  });
});

describe('documents', () => {
  it.each([
    ['file', 'python', true],
    ['untitled', 'java', true],
    ['vscode-notebook-cell', 'python', true],
    ['vscode-notebook-cell', 'markdown', false],
    ['file', 'go', false],
    ['output', 'python', false],
  ])('of scheme %s in %s are completed: %s', (scheme, languageId, served) => {
    expect(serves(defaults, { uri: { scheme }, languageId } as unknown as TextDocument)).toBe(served);
  });
});
