import createClient, { type Client } from "openapi-fetch";
import type { components, operations, paths } from "./schema.js";

export type { components, operations, paths };
export type Problem = components["schemas"]["Problem"];
export type TimbreClient = Client<paths>;

export interface TimbreOptions {
  /** Address of the service, as http://127.0.0.1:8000 */
  baseUrl: string;
  /** A key, as `timbre keys create` printed it. */
  key?: string;
  /** Another fetch than the global one. */
  fetch?: (request: Request) => Promise<Response>;
}

/** A client whose calls are typed by the service's own OpenAPI document. */
export function createTimbreClient({ baseUrl, key, fetch }: TimbreOptions): TimbreClient {
  return createClient<paths>({
    baseUrl,
    bodySerializer: serialize,
    ...(key === undefined ? {} : { headers: { Authorization: `Bearer ${key}` } }),
    ...(fetch === undefined ? {} : { fetch }),
  });
}

/** A body with recordings in it becomes multipart, any other becomes JSON. */
function serialize(body: unknown): FormData | string | Blob | undefined {
  if (body === undefined || body instanceof Blob || body instanceof FormData) {
    return body;
  }
  const fields = Object.entries(body as Record<string, unknown>);
  const recordings = fields.some(([, value]) => [value].flat().some((each) => each instanceof Blob));
  return recordings ? multipart(fields) : JSON.stringify(body);
}

function multipart(fields: [string, unknown][]): FormData {
  const form = new FormData();
  for (const [name, value] of fields) {
    for (const each of [value].flat()) {
      if (each instanceof Blob) {
        form.append(name, each, name);
      } else if (each !== undefined && each !== null) {
        form.append(name, typeof each === "object" ? JSON.stringify(each) : String(each));
      }
    }
  }
  return form;
}
