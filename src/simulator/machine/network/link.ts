/**
 * The way from one machine to another, in one direction; the way back is a link of its own. It delays, and it can be cut: what is
 * under way then, and what is sent from then on, arrives some time after it is healed, as TCP's repeated transmissions do.
 */
import type { Dice } from '../../contract.ts';

/** A stream that goes over the link, or whose receiver acknowledges over it. */
export interface LinkUser {
  linkCut(link: Link): void;
  linkHealed(link: Link): void;
}

export interface LinkOptions {
  /** The least that a message takes. */
  readonly latencyMs: number;
  /** Mean of what comes on top, exponentially distributed. */
  readonly jitterMs: number;
  /** Share of messages that are lost and sent again. */
  readonly lossRate: number;
}

/** TCP's least time before it sends again; it doubles from there. */
const SHORTEST_RESEND_MS = 200;
const LONGEST_RESEND_MS = 5_000;

export class Link {
  readonly from: string;
  readonly to: string;
  options: LinkOptions;
  readonly #dice: Dice;
  /** The streams over it, in the order in which they were opened. */
  readonly #users = new Set<LinkUser>();
  #cut = false;

  constructor(from: string, to: string, options: LinkOptions, dice: Dice) {
    this.from = from;
    this.to = to;
    this.options = options;
    this.#dice = dice;
  }

  get isCut(): boolean {
    return this.#cut;
  }

  /** How long the next message takes. */
  delayMs(): number {
    const { latencyMs, jitterMs, lossRate } = this.options;
    let delayMs = latencyMs + this.#dice.exponential(jitterMs);
    if (lossRate === 0) return delayMs;
    for (let resendMs = SHORTEST_RESEND_MS; this.#dice.chance(lossRate); resendMs *= 2) {
      delayMs += resendMs;
      if (resendMs > LONGEST_RESEND_MS) break;
    }
    return delayMs;
  }

  /** After a cut: what waits is sent again at a moment that has nothing to do with the healing. */
  resendDelayMs(): number {
    return this.delayMs() + this.#dice.unit() * SHORTEST_RESEND_MS * 5;
  }

  attach(user: LinkUser): void {
    this.#users.add(user);
  }

  detach(user: LinkUser): void {
    this.#users.delete(user);
  }

  cut(): void {
    if (this.#cut) return;
    this.#cut = true;
    for (const user of this.#users) user.linkCut(this);
  }

  heal(): void {
    if (!this.#cut) return;
    this.#cut = false;
    for (const user of this.#users) user.linkHealed(this);
  }
}
