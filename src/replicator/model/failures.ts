/**
 * How many nodes of a group are down together: the exact distribution for unlike nodes (Poisson binomial), with domains that fail as one.
 * Pure.
 *
 * Nodes fail independently of each other but for their domain: while a domain is down, all of its nodes are. Only sums and products of
 * probabilities occur, never 1 - x of a small x, so results keep their relative precision however small they are; a Fourier transform,
 * the usual way for large groups, has an absolute error of about 1e-16 and would lose every tail that matters here. Against
 * counts of failures the work is linear: only those up to the tolerated number are told apart.
 *
 * Source: W. H. Hoeffding, "On the distribution of the number of successes in independent trials", 1956, for the distribution; the recurrence
 * is the direct method of Y. Hong, "On computing the distribution function for the Poisson binomial distribution", 2013.
 */
import { assert } from '../../base/assert.ts';

export interface GroupMember {
  /** Share of time that the node is down by itself, its domain being up. 0..1. */
  readonly unavailability: number;
  /** Failure domain label: nodes of one label are down together when the domain is. */
  readonly domain: string;
}

/** Share of time (0..1) that a whole domain is down. A domain that is not listed never is. */
export type DomainUnavailability = ReadonlyMap<string, number>;
export const NO_DOMAIN_FAILS: DomainUnavailability = new Map();

export interface FailureTail {
  /** P(more than `tolerated` members are down), 0..1. */
  readonly probability: number;
  /** E[members down; more than `tolerated` are], in members: the mean counts the other cases as 0. */
  readonly meanDown: number;
}

/** The tail of the number of members that are down together, exact for unlike members. */
export function failureTail(
  members: readonly GroupMember[],
  tolerated: number,
  domains: DomainUnavailability = NO_DOMAIN_FAILS,
): FailureTail {
  assert(Number.isSafeInteger(tolerated) && tolerated >= 0, `tolerates ${tolerated}`);
  // exactly[j] = P(j down so far), j up to the tolerated number; more than that is the absorbing state.
  let exactly = new Float64Array(tolerated + 1);
  exactly[0] = 1;
  let probability = 0;
  let meanDown = 0;
  for (const [domain, unavailabilities] of byDomain(members)) {
    const block = downInDomain(unavailabilities, domains.get(domain) ?? 0);
    const next = new Float64Array(tolerated + 1);
    meanDown += probability * block.reduce((sum, chance, down) => sum + chance * down, 0);
    for (let before = 0; before <= tolerated; before++) {
      for (let more = 0; more < block.length; more++) {
        const chance = exactly[before]! * block[more]!;
        const down = before + more;
        if (down <= tolerated) {
          next[down]! += chance;
        } else {
          probability += chance;
          meanDown += chance * down;
        }
      }
    }
    exactly = next;
  }
  // Sums of rounded terms may exceed 1 by a few units in the last place.
  return { probability: Math.min(1, probability), meanDown: Math.min(members.length, meanDown) };
}

/** P(at least one of the members or the domain itself is down), without cancellation. */
export function anyDown(unavailabilities: readonly number[], domainUnavailability: number): number {
  const logAllUp = unavailabilities.reduce(
    (sum, p) => sum + Math.log1p(-p),
    Math.log1p(-domainUnavailability),
  );
  return Math.abs(Math.expm1(logAllUp));
}

/** Members' unavailabilities by domain, in the order in which the domains first occur. */
export function byDomain(members: readonly GroupMember[]): Map<string, number[]> {
  const domains = new Map<string, number[]>();
  for (const { domain, unavailability } of members) {
    assert(unavailability >= 0 && unavailability <= 1, `unavailability ${unavailability}`);
    const known = domains.get(domain);
    if (known === undefined) domains.set(domain, [unavailability]);
    else known.push(unavailability);
  }
  return domains;
}

/** P(j down), j = 0..size, for the members of one domain. */
function downInDomain(unavailabilities: readonly number[], domainUnavailability: number): Float64Array {
  assert(domainUnavailability >= 0 && domainUnavailability <= 1, `domain ${domainUnavailability}`);
  const size = unavailabilities.length;
  const chances = new Float64Array(size + 1);
  chances[0] = 1;
  unavailabilities.forEach((p, index) => {
    for (let down = index + 1; down > 0; down--) {
      chances[down] = chances[down]! * (1 - p) + chances[down - 1]! * p;
    }
    chances[0]! *= 1 - p;
  });
  for (let down = 0; down <= size; down++) chances[down]! *= 1 - domainUnavailability;
  chances[size]! += domainUnavailability;
  return chances;
}
