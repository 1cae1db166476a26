/** What would make a target that no layout meets attainable: more nodes, more parity, or better nodes. Pure. */
import { changeCandidates, keepCandidate, nodesById } from './candidates.ts';
import type { Candidate, PlanNode, PlanRequest, Remedy } from './contract.ts';
import { predictLayout } from './prediction.ts';

const MOST_NEWCOMERS = 64;
/** A volume of more nodes has as many as its stripes can use: newcomers would only make more groups. */
const ENOUGH_NODES = 64;
/** Parity fragments that are tried, whether the codes have so many or not. */
const MOST_PARITY = 8;
/** No node is better than this. */
const LEAST_P = 1e-12;
const BISECTIONS = 40;

export function findRemedies(request: PlanRequest): Remedy[] {
  return [moreNodes(request), moreParity(request), betterNodes(request)].filter(
    (remedy) => remedy !== undefined,
  );
}

const meeting = (request: PlanRequest): Candidate | undefined =>
  changeCandidates(request)
    .filter(({ fits, meetsTarget }) => fits && meetsTarget)
    .reduce<Candidate | undefined>((best, each) => (best && best.cost <= each.cost ? best : each), undefined);

/** The fewest newcomers like the median member, each with a domain of its own. */
function moreNodes(request: PlanRequest): Remedy | undefined {
  const members = request.nodes.filter(({ role }) => role === 'member');
  const typical = members.sort((a, b) => a.unavailability - b.unavailability)[Math.floor(members.length / 2)];
  if (typical === undefined || members.length > ENOUGH_NODES) return undefined;
  const nextId = 1 + Math.max(...request.nodes.map(({ id }) => id));
  const attempt = (count: number): Candidate | undefined => {
    const newcomers = Array.from({ length: count }, (_, index): PlanNode => {
      const id = nextId + index;
      return { ...typical, id, domain: `new node ${id}`, freeBytes: typical.capacityBytes };
    });
    return meeting({ ...request, nodes: [...request.nodes, ...newcomers] });
  };
  // Doubling, then halving the gap between the last that was too few and the first that was enough.
  let tooFew = 0;
  let enough = 1;
  while (attempt(enough) === undefined) {
    if (enough >= MOST_NEWCOMERS) return undefined;
    tooFew = enough;
    enough *= 2;
  }
  while (enough - tooFew > 1) {
    const middle = Math.floor((tooFew + enough) / 2);
    if (attempt(middle) === undefined) tooFew = middle;
    else enough = middle;
  }
  return { kind: 'add-nodes', count: enough, layout: attempt(enough)!.layout };
}

function moreParity(request: PlanRequest): Remedy | undefined {
  for (let parity = request.policy.maxParity + 1; parity <= MOST_PARITY; parity++) {
    const policy = { ...request.policy, minParity: parity, maxParity: parity };
    if (meeting({ ...request, policy }) !== undefined) {
      return { kind: 'allow-parity', parityFragments: parity };
    }
  }
  return undefined;
}

/** The largest p to which all worse nodes would have to be brought, in the most available of the layouts that hold the data. */
function betterNodes(request: PlanRequest): Remedy | undefined {
  const safest = [keepCandidate(request), ...changeCandidates(request)]
    .filter(({ fits }) => fits)
    .reduce<Candidate | undefined>(
      (best, each) => (best && best.unavailability <= each.unavailability ? best : each),
      undefined,
    );
  if (safest === undefined) return undefined;
  const attempt = (limit: number): boolean => {
    const nodes = request.nodes.map((node) => ({
      ...node,
      unavailability: Math.min(limit, node.unavailability),
    }));
    const predicted = predictLayout(safest.layout, nodesById(nodes), request.domainUnavailability);
    return predicted.unavailability <= request.policy.targetUnavailability;
  };
  let logLow = Math.log(LEAST_P);
  let logHigh = 0;
  if (!attempt(LEAST_P)) return undefined;
  for (let round = 0; round < BISECTIONS; round++) {
    const middle = (logLow + logHigh) / 2;
    if (attempt(Math.exp(middle))) logLow = middle;
    else logHigh = middle;
  }
  return { kind: 'better-nodes', unavailabilityAtMost: Math.exp(logLow) };
}
