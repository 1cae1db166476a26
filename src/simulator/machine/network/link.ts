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

export interface LinkSpeed {
  /** The least that a message takes. */
  readonly latencyMs: number;
  /** Mean of what comes on top, exponentially distributed. */
  readonly jitterMs: number;
}

export interface LinkFaults {
  /** Comes on top of the latency. */
  readonly extraMs: number;
  /** Share of messages that are lost and sent again. */
  readonly lossRate: number;
}

/** TCP's least time before it sends again; it doubles from there. */
const SHORTEST_RESEND_MS = 200;
const LONGEST_RESEND_MS = 5_000;

export class Link {
  readonly from: string;
  readonly to: string;
  readonly #speed: LinkSpeed;
  readonly #dice: Dice;
  /** The streams over it, in the order in which they were opened. */
  readonly #users = new Set<LinkUser>();
  #cut = false;
  #faults: LinkFaults = { extraMs: 0, lossRate: 0 };

  constructor(from: string, to: string, speed: LinkSpeed, dice: Dice) {
    this.from = from;
    this.to = to;
    this.#speed = speed;
    this.#dice = dice;
  }

  get isCut(): boolean {
    return this.#cut;
  }

  /** Ends and streams of connections that are not over: none, when all are closed. */
  get users(): number {
    return this.#users.size;
  }

  /** How long the next message takes. */
  delayMs(): number {
    const { lossRate, extraMs } = this.#faults;
    let delayMs = this.#speed.latencyMs + extraMs + this.#dice.exponential(this.#speed.jitterMs);
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

  /** What is not given stays. */
  tune(faults: Partial<LinkFaults>): void {
    this.#faults = { ...this.#faults, ...faults };
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
