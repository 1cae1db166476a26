/**
 * What can be wrong with the network between machines. A machine always reaches itself: faults between it and itself do nothing.
 *
 * What is cut comes late, as TCP goes on sending it: nothing is lost from a stream while both its ends live.
 */
import type { LinkFaults } from './link.ts';
import type { SimulatedNetwork } from './network.ts';

export class NetworkFaults {
  readonly #network: SimulatedNetwork;

  constructor(network: SimulatedNetwork) {
    this.#network = network;
  }

  cut(one: string, other: string): void {
    this.cutOneWay(one, other);
    this.cutOneWay(other, one);
  }

  /** Nothing gets from the one to the other any more; the way back stays, but what comes over it is not acknowledged. */
  cutOneWay(from: string, to: string): void {
    if (from === to) return;
    this.#network.trace.event('link-cut', { from, to });
    this.#network.link(from, to).cut();
  }

  /** Cuts every link between the two groups. */
  partition(some: readonly string[], others: readonly string[]): void {
    for (const one of some) for (const other of others) this.cut(one, other);
  }

  /** Ends cuts, both ways. */
  mend(one: string, other: string): void {
    if (one === other) return;
    this.#network.trace.event('link-mended', { one, other });
    this.#network.link(one, other).heal();
    this.#network.link(other, one).heal();
  }

  /** Adds to what every message takes, both ways; 0 is the usual speed. */
  delay(one: string, other: string, delayMs: number): void {
    this.#tune(one, other, { extraMs: delayMs });
  }

  /** Share of the messages that are lost and come late, both ways. */
  lose(one: string, other: string, lossRate: number): void {
    this.#tune(one, other, { lossRate });
  }

  /**
   * Makes every connection between the two half-open: one end, chosen by the dice, is told that it was reset, the other never hears of
   * it. New ones can be made.
   */
  breakHalf(one: string, other: string): void {
    if (one === other) return;
    const { dice, trace } = this.#network;
    trace.event('connections-broken', { one, other });
    for (const endpoint of this.#network.endpointsBetween(one, other)) {
      const told = dice.chance(0.5) ? endpoint : endpoint.other;
      told.breakHalf();
    }
  }

  /** All links are whole and quick again. */
  clear(): void {
    this.#network.trace.event('network-cleared');
    for (const link of this.#network.links()) {
      link.tune({ extraMs: 0, lossRate: 0 });
      link.heal();
    }
  }

  #tune(one: string, other: string, options: Partial<LinkFaults>): void {
    if (one === other) return;
    this.#network.trace.event('link-tuned', { one, other, ...options });
    this.#network.link(one, other).tune(options);
    this.#network.link(other, one).tune(options);
  }
}
