/**
 * etcd's JSON gateway: the v3 calls that the coordinator needs, one HTTP POST each, tried on every endpoint in turn.
 *
 * A write whose answer is lost may have happened; it is not sent again to another endpoint, but reported as CoordinatorUnavailable. Reads, and
 * writes that never reached a server, are.
 */
import type { HttpTransport } from '../platform/http.ts';
import { MachineError } from '../platform/platform.ts';
import { CoordinatorUnavailable } from './coordinator.ts';

/** A JSON object as the gateway sends it: 64-bit numbers are strings, and zero values are left out. */
export type Json = { readonly [name: string]: unknown };

/** The request did not reach a server. */
const NOT_SENT: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
]);

/** etcd's answer says that the lease is not there (gRPC code 5, not found). */
export class EtcdNotFound extends Error {
  override readonly name = 'EtcdNotFound';
}

const GRPC_NOT_FOUND = 5;

export class EtcdGateway {
  readonly #http: HttpTransport;
  readonly #endpoints: readonly string[];
  readonly #timeoutMs: number;
  /** The endpoint that answered last. */
  #preferred = 0;

  constructor(http: HttpTransport, endpoints: readonly string[], timeoutMs: number) {
    this.#http = http;
    this.#endpoints = endpoints;
    this.#timeoutMs = timeoutMs;
  }

  async call(path: string, request: Json, kind: 'read' | 'write'): Promise<Json> {
    const json = JSON.stringify(request);
    let reason = 'no endpoints';
    // A stream that ends meanwhile changes the preference; this call still visits each endpoint once.
    const first = this.#preferred;
    for (let attempt = 0; attempt < this.#endpoints.length; attempt++) {
      const index = (first + attempt) % this.#endpoints.length;
      try {
        const { status, text } = await this.#http.post(
          `${this.#endpoints[index]}${path}`,
          json,
          this.#timeoutMs,
        );
        const answer = parseJson(text);
        if (status === 200 && answer !== undefined) {
          this.#preferred = index;
          return answer;
        }
        if (answer?.code === GRPC_NOT_FOUND) throw new EtcdNotFound(text);
        reason = `${this.#endpoints[index]} answered ${status}: ${text.slice(0, 200)}`;
      } catch (error) {
        if (!(error instanceof MachineError)) throw error;
        reason = error.message;
        if (kind === 'read' || NOT_SENT.has(error.code)) continue;
      }
      if (kind === 'write') break;
    }
    throw new CoordinatorUnavailable(`etcd does not answer: ${reason}`);
  }

  /** An answer without end. `onEnd` is called once, unless cut off by the result. */
  stream(path: string, request: Json, onAnswer: (answer: Json) => void, onEnd: () => void): () => void {
    const endpoint = this.#endpoints[this.#preferred];
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      this.#preferred = (this.#preferred + 1) % this.#endpoints.length;
      onEnd();
    };
    const onLine = (line: string): void => {
      const answer = parseJson(line);
      if (answer !== undefined) onAnswer(answer);
      else {
        cut();
        end();
      }
    };
    const cut = this.#http.stream(`${endpoint}${path}`, JSON.stringify(request), onLine, end);
    return () => {
      ended = true;
      cut();
    };
  }
}

function parseJson(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Json) : undefined;
  } catch {
    return undefined;
  }
}
