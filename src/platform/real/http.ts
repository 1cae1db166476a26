/** HTTP and HTTPS by Node's own client, over connections that are kept. */
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest, Agent as SecureAgent } from 'node:https';
import { MIB } from '../../base/units.ts';
import type { HttpTransport } from '../http.ts';
import { MachineError } from '../platform.ts';

/** What the servers' certificates are checked against, and this client's own, as PEM text. */
export interface TlsFiles {
  readonly authority?: string;
  readonly certificate?: string;
  readonly privateKey?: string;
}

const MAX_REPLY_BYTES = 16 * MIB;
const KEEP_ALIVE_MS = 5_000;

export function realHttp(tls: TlsFiles = {}): HttpTransport {
  const plain = new Agent({ keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS });
  const secure = new SecureAgent({
    keepAlive: true,
    keepAliveMsecs: KEEP_ALIVE_MS,
    ...(tls.authority === undefined ? {} : { ca: tls.authority }),
    ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
    ...(tls.privateKey === undefined ? {} : { key: tls.privateKey }),
  });
  const send = (url: string, json: string, onReply: (reply: IncomingMessage) => void): ClientRequest => {
    const isSecure = url.startsWith('https:');
    const request = isSecure
      ? httpsRequest(url, { method: 'POST', agent: secure }, onReply)
      : httpRequest(url, { method: 'POST', agent: plain }, onReply);
    request.setHeader('content-type', 'application/json');
    request.setHeader('content-length', Buffer.byteLength(json));
    request.end(json);
    return request;
  };
  return {
    post: (url, json, timeoutMs) =>
      new Promise((resolve, reject) => {
        const request = send(url, json, (reply) => {
          const parts: Buffer[] = [];
          let totalBytes = 0;
          reply.on('data', (part: Buffer) => {
            totalBytes += part.length;
            if (totalBytes > MAX_REPLY_BYTES)
              request.destroy(new MachineError('EMSGSIZE', `${url}: too long`));
            else parts.push(part);
          });
          reply.on('end', () => {
            clearTimeout(timer);
            resolve({ status: reply.statusCode ?? 0, text: Buffer.concat(parts).toString() });
          });
          reply.on('error', (error) => reject(failure(error, url)));
        });
        const timer = setTimeout(
          () => request.destroy(new MachineError('ETIMEDOUT', `${url}: no answer in time`)),
          timeoutMs,
        );
        request.on('error', (error) => {
          clearTimeout(timer);
          reject(failure(error, url));
        });
      }),
    stream(url, json, onLine, onEnd) {
      let over = false;
      const end = (reason: number | MachineError): void => {
        if (over) return;
        over = true;
        onEnd(reason);
      };
      const request = send(url, json, (reply) => {
        let rest = '';
        reply.setEncoding('utf8');
        reply.on('data', (text: string) => {
          const lines = (rest + text).split('\n');
          rest = lines.pop() ?? '';
          if (rest.length > MAX_REPLY_BYTES)
            request.destroy(new MachineError('EMSGSIZE', `${url}: too long`));
          for (const line of lines) if (!over && line !== '') onLine(line);
        });
        reply.on('end', () => end(reply.statusCode ?? 0));
        reply.on('error', (error) => end(failure(error, url)));
      });
      request.on('error', (error) => end(failure(error, url)));
      return () => {
        over = true;
        request.destroy();
      };
    },
    close() {
      plain.destroy();
      secure.destroy();
    },
  };
}

function failure(error: Error, url: string): MachineError {
  if (error instanceof MachineError) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : 'EIO';
  return new MachineError(code, `${url}: ${error.message}`);
}
