/** The models as `green-code models --json` lists them, and how the user sees them. Must not use the editor's API. */
import { t } from '../l10n';
import { fileSize, joules, tenths } from '../state/format';

/** A model of the catalog. */
export interface Model {
  readonly name: string;
  readonly title: string;
  readonly license: string;
  /** Whether the licence must be accepted on the hub first. */
  readonly gated: boolean;
  readonly languages: readonly string[];
  /** Whether it knows the text behind the cursor. */
  readonly fim: boolean;
  readonly download_bytes: number;
  readonly disk_bytes: number;
  readonly memory_bytes: number;
  readonly state: 'ready' | 'downloaded' | 'partial' | 'available';
  readonly places: readonly string[];
  readonly milliseconds_per_token: number;
  /** Of a prompt that is not in the cache, up to its first token. */
  readonly milliseconds_per_prompt: number;
  readonly joules_per_token: number;
  readonly joules_per_prompt: number;
  readonly energy_source: string;
  /** Whether times come from this machine. */
  readonly measured: boolean;
  readonly fits: boolean;
  /** Why it does not fit, in the daemon's English. */
  readonly reason: string;
  /** What Set Up calls it; empty for a model that it does not offer. */
  readonly known_as: 'light' | 'standard' | '';
  /** The one that suits this machine. */
  readonly recommended: boolean;
  /** Extras of the package that are missing. */
  readonly needs: readonly string[];
}

/** A GGUF file that another tool has downloaded. */
export interface ModelFile {
  readonly path: string;
  readonly tool: string;
  readonly name: string;
  readonly size: number;
}

export interface Models {
  readonly models: readonly Model[];
  readonly files: readonly ModelFile[];
}

/** A line that `green-code models get --json` writes. */
export type Event =
  | { readonly event: 'progress'; readonly sentence: string; readonly done_bytes: number; readonly total_bytes: number }
  | { readonly event: 'done'; readonly name: string };

/** Those on this machine first, then those that fit, the smallest first. */
export function ordered(models: readonly Model[]): readonly Model[] {
  const rank = ({ state, fits }: Model) => (state === 'ready' ? 0 : state === 'downloaded' ? 1 : fits ? 2 : 3);
  return [...models].sort((a, b) => rank(a) - rank(b) || a.memory_bytes - b.memory_bytes);
}

/** Size and speed; what is not here yet also has its download. */
export function description(model: Model): string {
  const here = model.state === 'ready' ? t('models.here') : model.state === 'downloaded' ? t('models.downloaded') : download(model);
  return [...recommendation(model), here, memory(model), speed(model)].join(' · ');
}

const recommendation = ({ recommended }: Model): readonly string[] => (recommended ? [t('models.recommended')] : []);
const download = (model: Model): string => t('models.download', { download: fileSize(model.download_bytes) });
const memory = (model: Model): string => t('models.memory', { memory: fileSize(model.memory_bytes) });

function speed({ milliseconds_per_token: ms, joules_per_token: energy }: Model): string {
  return t('models.speed', { seconds: tenths((TOKENS_OF_A_LINE * ms) / 1000), energy: joules(TOKENS_OF_A_LINE * energy) });
}

/** A model in Set Up's question: what it is good for, whether it is recommended, and all that it takes. */
export interface Choice {
  readonly model: Model;
  readonly label: string;
  readonly description: string;
  readonly detail: string;
}

/** The models that Set Up offers and that fit, the recommended one first. */
export function choices({ models }: Models): readonly Choice[] {
  const offered = models.filter(({ known_as: name, fits }) => name !== '' && fits);
  return [...offered].sort((a, b) => Number(b.recommended) - Number(a.recommended)).map((model) => ({
    model,
    label: model.known_as === 'light' ? t('models.light') : t('models.standard'),
    description: [model.title, ...recommendation(model)].join(' · '),
    detail: [
      model.known_as === 'light' ? t('models.lightIsFor') : t('models.standardIsFor'),
      download(model),
      memory(model),
      t('models.first', { seconds: tenths((model.milliseconds_per_prompt + TOKENS_OF_A_LINE * model.milliseconds_per_token) / 1000) }),
      speed(model),
      model.license,
    ].join(' · '),
  }));
}

/** Why none of them fits, in the daemon's English. */
export function whyNone({ models }: Models): string {
  return models.filter(({ known_as: name }) => name !== '').map(({ title, reason }) => `${title}: ${reason}`).join(' ');
}

/** Licence, languages and abilities; why it does not fit. */
export function detail(model: Model): string {
  const languages = model.languages.length === 0 ? [] : [model.languages.slice(0, MOST_LANGUAGES).join(', ') + (model.languages.length > MOST_LANGUAGES ? ' …' : '')];
  const fim = model.fim ? [t('models.fim')] : [];
  return [...(model.fits ? [] : [model.reason]), model.license, ...languages, ...fim].join(' · ');
}

const MOST_LANGUAGES = 6;
/** Of code, about. */
const TOKENS_OF_A_LINE = 12;

/** What getting a model takes, before the user agrees. */
export function consent(model: Model): string {
  const takes = t('models.takes', { download: fileSize(model.download_bytes), disk: fileSize(model.disk_bytes), memory: fileSize(model.memory_bytes) });
  const from = t('models.from', { places: model.places.join(', ') });
  const { license: name } = model;
  const license = model.gated ? t('models.gatedLicense', { license: name }) : t('models.license', { license: name });
  const extras = model.needs.includes('gpu') ? [t('models.needsTorch')] : model.needs.length > 0 ? [t('models.needsPackages')] : [];
  return [takes, from, license, ...extras].join('\n');
}

export function progressText({ sentence, done_bytes, total_bytes }: Event & { readonly event: 'progress' }): string {
  return total_bytes === 0 ? sentence : t('models.progress', { sentence, done: fileSize(done_bytes), total: fileSize(total_bytes) });
}

/** A line of the daemon's output as an event; null for any other line. */
export function eventOf(line: string): Event | null {
  try {
    const parsed = JSON.parse(line) as Partial<Event>;
    return parsed.event === 'progress' || parsed.event === 'done' ? (parsed as Event) : null;
  } catch {
    return null;
  }
}

/** The daemon's sentence where a command failed; the last line of its output where it wrote none. */
export function problemOf(stdout: string, stderr: string): string {
  for (const line of stdout.trim().split('\n').reverse()) {
    try {
      const { message } = JSON.parse(line) as { readonly message?: unknown };
      if (typeof message === 'string') {
        return message;
      }
    } catch {
      // not JSON
    }
  }
  return stderr.trim().split('\n').at(-1) ?? '';
}
