/**
 * A check of the volume inside the mount's process, for a command that asks again and again how far it is. One at a time; a client that does
 * not come back any more ends it. Findings wait for their client in a bounded list: when it is full, the check waits, too.
 */
import {
  CheckCancelled,
  type CheckedVolume,
  type CheckProgress,
  checkVolume,
} from '../../fsck/check-volume.ts';
import type { CheckSummary, Finding } from '../../fsck/findings.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import type { CheckReport, CheckSettings } from '../supervisor/control-messages.ts';

const MAX_WAITING = 500;
const PAUSE_MS = 20;
/** A client asks several times a second. */
const CLIENT_TIMEOUT_MS = 30_000;

export class CheckSession {
  readonly #findings: Finding[] = [];
  #progress: CheckProgress | null = null;
  #summary: CheckSummary | undefined;
  #failure: unknown;
  #ended = false;
  #cancelled = false;
  #lastPollMs: number;
  readonly #volume: CheckedVolume;

  constructor(volume: CheckedVolume, settings: CheckSettings) {
    this.#volume = volume;
    this.#lastPollMs = volume.platform.clock.monotonicMs();
    this.#run(settings).then(
      () => {
        this.#ended = true;
      },
      (error: unknown) => {
        this.#failure = error;
        this.#ended = true;
      },
    );
  }

  get isRunning(): boolean {
    return !this.#ended;
  }

  async #run(settings: CheckSettings): Promise<void> {
    const checking = checkVolume(this.#volume, {
      ...settings,
      atRest: false,
      isCancelled: () => this.#isGivenUp(),
      onProgress: (progress) => {
        this.#progress = progress;
      },
    });
    for (;;) {
      const next = await checking.next();
      if (next.done === true) {
        this.#summary = next.value;
        return;
      }
      this.#findings.push(next.value);
      while (this.#findings.length >= MAX_WAITING && !this.#isGivenUp()) {
        await this.#volume.platform.timers.sleep(PAUSE_MS);
      }
    }
  }

  #isGivenUp(): boolean {
    return (
      this.#cancelled || this.#volume.platform.clock.monotonicMs() - this.#lastPollMs > CLIENT_TIMEOUT_MS
    );
  }

  cancel(): void {
    this.#cancelled = true;
  }

  /** What was found since the last time. Throws what the check failed with, once. */
  poll(): CheckReport {
    this.#lastPollMs = this.#volume.platform.clock.monotonicMs();
    if (this.#failure !== undefined && this.#findings.length === 0) throw checkFailure(this.#failure);
    const findings = this.#findings.splice(0);
    const isOver = this.#ended && this.#failure === undefined;
    return { findings, progress: this.#progress, summary: isOver ? (this.#summary ?? null) : null };
  }
}

/** What keeps a check from going on, as the failure a user can act on; other errors pass through. */
export function checkFailure(error: unknown): unknown {
  if (error instanceof MetadataUnavailable) {
    return new CommandFailure(exitCodes.unavailable, `the check cannot go on: ${error.message}`, error);
  }
  if (error instanceof CheckCancelled) {
    return new CommandFailure(exitCodes.unavailable, 'the check was given up', error);
  }
  return error;
}
