import fs from 'node:fs';
import path from 'node:path';

import ts from 'typescript';
import type { TextDocument } from 'vscode';
import { beforeEach, describe, expect, it } from 'vitest';

import manifest from '../../../package.json';
import germanTexts from '../../../package.nls.de.json';
import texts from '../../../package.nls.json';
import table from '../../l10n/texts.json';
import { COMMANDS, CONDITIONS, CONTEXTS, ICON, ICON_OFF, VIEW_THRESHOLD } from '../../src/ids';
import * as protocol from '../../src/protocol';
import { COMMAND_ACCEPTED } from '../../src/protocol';
import { isSupported, rawSettings, readSettings, SETTING_KEYS, settingId, settingsForFront, TABLE } from '../../src/settings';
import { defaults } from './samples';
import { ROOT, sources } from './sources';
import { configuration } from './vscode';

const WALKTHROUGH = path.join(ROOT, 'extension/media/walkthrough');
const ids: readonly string[] = SETTING_KEYS.map(settingId);

const messages = fs.readFileSync(path.join(ROOT, 'daemon/green_code/link/messages.py'), 'utf8');
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

  it('names of messages', () => {
    const theirs = [...messages.matchAll(/^((?:LSP|COMMAND)_\w+): Final = "([^"]+)"/gm)].map((match) => [match[1], match[2]]);
    const ours = Object.entries(protocol).filter(([name]) => /^(LSP|COMMAND)_/.test(name));
    expect(Object.fromEntries(ours)).toEqual(Object.fromEntries(theirs));
  });
});

describe('the manifest', () => {
  const { commands, keybindings, menus, views, icons, configuration, walkthroughs, viewsContainers } = manifest.contributes;
  const { steps } = walkthroughs[0]!;

  it('has the version of the daemon', () => {
    const project = fs.readFileSync(path.join(ROOT, 'pyproject.toml'), 'utf8');
    expect(/^version = "(.*)"$/m.exec(project)?.[1]).toBe(manifest.version);
  });

  it('has the commands of ids.ts', () => {
    expect(commands.map(({ command }) => command).sort()).toEqual(Object.values(COMMANDS).sort());
  });

  it('has the settings of settings.ts, with the same types and values', () => {
    const properties: Readonly<Record<string, { type: string; enum?: string[] }>> = configuration.properties;
    const declared = Object.entries(properties).map(([id, schema]) => [id, schema.enum?.toSorted() ?? schema.type]);
    expect(declared).toEqual(SETTING_KEYS.map((key) => [settingId(key), typeof TABLE[key] === 'string' ? TABLE[key] : TABLE[key].toSorted()]));
  });

  it('has the view, the icon and the context keys of ids.ts', () => {
    expect(views.greenCode.map(({ id }) => id)).toEqual([VIEW_THRESHOLD]);
    expect(Object.keys(views)).toEqual(viewsContainers.activitybar.map(({ id }) => id));
    expect(Object.keys(icons)).toEqual([ICON, ICON_OFF].map((icon) => icon.slice(2, -1)));
    expect(Object.fromEntries(steps.map(({ id, completionEvents }) => [id, completionEvents]))).toEqual(
      Object.fromEntries(Object.entries(CONTEXTS).map(([id, key]) => [id, [`onContext:${key}`]])),
    );
  });

  it('takes Escape only from the editor\'s own command that hides a suggestion, where a front of ours answers', () => {
    const escape = keybindings.filter(({ key }) => key === 'escape');
    expect(escape.map(({ command }) => command)).toEqual([COMMANDS.dismiss]);
    const conditions = escape[0]!.when.split(' && ');
    expect(conditions).toEqual(expect.arrayContaining(['editorTextFocus', 'inlineSuggestionVisible', `editorLangId in ${CONDITIONS.answersIn}`]));
    // An extension's key wins over all of the editor's. These have an Escape of their own, and come first in the editor as well.
    const first = ['suggestWidgetVisible', 'referenceSearchVisible', 'callHierarchyVisible', 'typeHierarchyVisible', 'LinkedEditingInputVisible'];
    const others = ['inlineChatVisible', 'isNotebookMultiSelect', 'comparingMovedCode', 'vim.active', 'neovim.init'];
    expect(conditions).toEqual(expect.arrayContaining([...first, ...others].map((key) => `!${key}`)));
  });

  it('has no key twice', () => {
    const keys = keybindings.map(({ key }) => key);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('lists only what can be run in the palette', () => {
    expect(menus.commandPalette).toEqual([
      { command: COMMANDS.dismiss, when: 'false' },
      { command: COMMANDS.resume, when: CONDITIONS.snoozed },
    ]);
  });

  it('gives the editor\'s command that asks by hand the key that the texts name: the editor itself has none', () => {
    expect(keybindings).toContainEqual(expect.objectContaining({ command: 'editor.action.inlineSuggest.trigger', key: 'alt+\\' }));
    [texts, germanTexts].forEach((each) => expect(each['walkthrough.complete.description']).toContain('Alt+\\'));
  });

  it('activates the extension whatever languages are chosen', () => {
    expect(manifest.activationEvents).toEqual(['onStartupFinished']);
  });

  it('lets no workspace name a program, a model, which is a path, or a server, or fill a GPU', () => {
    const machine = Object.entries(manifest.contributes.configuration.properties).filter(([, { scope }]) => scope === 'machine');
    expect(machine.map(([id]) => id)).toEqual(['model', 'endpoint', 'gpuReserve', 'pythonPath'].map((key) => `greenCode.${key}`));
  });

  it('lets an untrusted folder change only harmless settings', () => {
    const restricted = manifest.capabilities.untrustedWorkspaces.restrictedConfigurations;
    expect(SETTING_KEYS.filter((key) => !restricted.includes(settingId(key)))).toEqual(['statusBar', 'gridIntensity']);
    expect(restricted.filter((id) => !ids.includes(id))).toEqual([]);
  });

  it('opens no addresses: a web page could send one to the editor', () => {
    const handlers = sources.filter(({ nodes }) => nodes.some((node) => ts.isIdentifier(node) && node.text === 'registerUriHandler'));
    expect(handlers.map(({ name }) => name)).toEqual([]);
  });

  it('links walkthrough steps to commands', () => {
    expect(steps.map(({ id }) => id)).toEqual(['setUp', 'complete', 'threshold', 'report']);
    steps.forEach(({ description }) => {
      const link = /\(command:([\w.]+)\)/.exec((texts as Readonly<Record<string, string>>)[description.slice(1, -1)] ?? '');
      expect(Object.values(COMMANDS), description).toContain(link?.[1]);
    });
  });

  it('names files that exist', () => {
    const files = [manifest.icon, viewsContainers.activitybar[0]!.icon, icons['green-code-leaf'].default.fontPath, ...steps.map(({ media }) => media.markdown)];
    files.forEach((file) => expect(fs.existsSync(path.join(ROOT, file)), file).toBe(true));
  });
});

describe('ids', () => {
  const strings = sources.map(({ name, nodes }) => ({ name, texts: nodes.filter(ts.isStringLiteralLike).map(({ text }) => text) }));
  const webview = 'greenCode.report';

  it('are written out only in the files that define them', () => {
    const definitions = ['ids.ts', 'settings.ts', 'protocol.ts'];
    const elsewhere = strings.filter(({ name }) => !definitions.includes(name)).flatMap((file) => file.texts);
    expect(elsewhere.filter((text) => /^greenCode(\.\w+)?$/.test(text))).toEqual([webview]);
  });

  it('exist wherever a text names one', () => {
    const pages = fs.readdirSync(WALKTHROUGH).map((name) => fs.readFileSync(path.join(WALKTHROUGH, name), 'utf8'));
    const all = [...strings.flatMap((file) => file.texts), ...pages, ...Object.values(table).flatMap(({ en, de }) => [en, de])];
    const known = [...ids, ...Object.values(COMMANDS), ...Object.values(CONTEXTS), ...Object.values(CONDITIONS), VIEW_THRESHOLD, COMMAND_ACCEPTED, webview];
    const named = all.flatMap((text) => text.match(/\bgreenCode\.\w+/g) ?? []);
    expect(named.filter((id) => !known.includes(id))).toEqual([]);
  });
});

describe('the page of the extension', () => {
  const file = 'extension/README.md';
  const text = fs.readFileSync(path.join(ROOT, file), 'utf8');

  it('is packed, and needs no other file of the repository', () => {
    expect(manifest.scripts.package).toContain(`--readme-path ${file}`);
    expect([...text.matchAll(/\]\((?!https:)/g)]).toEqual([]);
    expect(text).not.toContain('![');
  });

  it('names existing settings, and every command except the menu', () => {
    const named = [...text.matchAll(/`(greenCode\.\w+)`/g)].map((match) => match[1] ?? '');
    expect(named.filter((id) => !ids.includes(id))).toEqual([]);
    const titles = Object.entries(texts).filter(([key]) => key.startsWith('command.') && key !== 'command.menu');
    titles.forEach(([, title]) => expect(text).toContain(`**${title}**`));
  });
});

describe('settings', () => {
  beforeEach(() => configuration.reset());

  it('are read without their prefix', () => {
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
    ['suggestions', 'quality'],
    ['enabled', 'no'],
    ['languages', 'python'],
    ['languages', ['python', 3]],
    ['maxLines', 1.5],
    ['pythonPath', null],
  ])('%s: %j becomes the default, and is sent to the front as written', (key, value) => {
    configuration.user.set(key, value);
    expect(readSettings()).toEqual(defaults);
    expect(rawSettings()[key]).toBe(value);
  });

  it.each([
    ['model', 'x'.repeat(4097)],
    ['pythonPath', '/'.repeat(4097)],
    ['languages', Array.from({ length: 257 }, (_, i) => `language${i}`)],
    ['excludedFiles', Array(257).fill('*.txt')],
  ])('%s that is longer than the manifest allows becomes the default', (key, value) => {
    configuration.user.set(key, value);
    expect(readSettings()).toEqual(defaults);
    configuration.user.set(key, value.slice(1));
    expect(readSettings()).toEqual({ ...defaults, [key]: value.slice(1) });
  });
});

describe('the front is sent', () => {
  beforeEach(() => {
    configuration.reset();
    Object.entries(defaults).forEach(([key, value]) => configuration.user.set(key, value));
  });

  it('common values, where no language differs', () => {
    configuration.languages.set('python', new Map([['completeInStrings', true]]));
    expect(settingsForFront({ snooze: null, endpoint: '' })).toEqual(defaults);
  });

  it('that suggestions are off while they are snoozed, whatever the setting', () => {
    expect(settingsForFront({ snooze: 5, endpoint: '' })).toEqual({ ...defaults, enabled: false });
  });

  it('values that a chosen language overrides', () => {
    configuration.languages.set('python', new Map<string, unknown>([['completeInStrings', false], ['maxLines', 5]]));
    configuration.languages.set('java', new Map([['completeInComments', 'no']]));
    configuration.languages.set('dart', new Map([['completeInComments', false]]));
    expect(settingsForFront({ snooze: null, endpoint: '' })).toEqual({ ...defaults, '[python]': { completeInStrings: false }, '[java]': { completeInComments: 'no' } });
  });
});

describe('documents', () => {
  it.each([
    ['file', 'python', true],
    ['untitled', 'java', true],
    ['vscode-notebook-cell', 'python', true],
    ['vscode-notebook-cell', 'markdown', false],
    ['file', 'dart', false],
    ['output', 'python', false],
  ])('of scheme %s in %s are supported: %s', (scheme, languageId, supported) => {
    expect(isSupported(defaults, { uri: { scheme }, languageId } as unknown as TextDocument)).toBe(supported);
  });
});
