// First steps: node dist/examples/first-steps.js http://127.0.0.1:8000 ada-1.ogg ada-2.ogg ada-3.ogg [key]
// Enrolls two recordings of a voice, verifies and identifies a third, and deletes the speaker again.
import { readFileSync } from "node:fs";
import { createTimbreClient, type Problem } from "../src/index.js";

const [baseUrl, first, second, third, key] = process.argv.slice(2);
if (!baseUrl || !first || !second || !third) {
  throw new Error("usage: first-steps.js SERVER CLIP CLIP CLIP [KEY]");
}
const client = createTimbreClient(key === undefined ? { baseUrl } : { baseUrl, key });
const recording = (path: string) => new Blob([readFileSync(path)]);
const tell = (step: string, found: object) => console.log(JSON.stringify({ step, ...found }));
const path = { speaker_id: "ts-ada" };

/** The answer, or an end with the service's own words. */
function good<T>(result: { data?: T; error?: Problem }): T {
  if (result.data === undefined) {
    throw new Error(result.error?.detail ?? "no answer");
  }
  return result.data;
}

const enrolled = good(
  await client.POST("/enroll", {
    params: { header: { "Idempotency-Key": crypto.randomUUID() } },
    body: { audio: [recording(first), recording(second)], ...path, metadata: { group: "first-steps" } },
  }),
);
tell("enroll", { status: enrolled.status, enrollments: enrolled.enrollments_count });

const verified = good(await client.POST("/verify", { body: { audio: recording(third), ...path } }));
tell("verify", { decision: verified.decision, score: verified.score });

const found = good(await client.POST("/identify", { body: { audio: recording(third), top_k: 3 } }));
tell("identify", { decision: found.decision, speaker: found.speaker_id });

let cursor: string | null | undefined;
const names: string[] = [];
do {
  const query = cursor ? { limit: 1, cursor } : { limit: 1 };
  const page = good(await client.GET("/v1/speakers", { params: { query } }));
  names.push(...page.speakers.map((speaker) => speaker.speaker_id));
  cursor = page.next_cursor;
} while (cursor);
tell("list", { names });

const shown = await client.GET("/v1/speakers/{speaker_id}", { params: { path } });
const tag = shown.response.headers.get("etag") ?? "";
const change = { params: { path, header: { "If-Match": tag } }, body: { display_name: "Ada" } };
const changed = good(await client.PATCH("/v1/speakers/{speaker_id}", change));
const refused = await client.PATCH("/v1/speakers/{speaker_id}", change);
tell("patch", { name: changed.display_name, refused: refused.error?.code, status: refused.response.status });

const deleted = await client.DELETE("/v1/speakers/{speaker_id}", { params: { path } });
const gone = await client.GET("/v1/speakers/{speaker_id}", { params: { path } });
tell("delete", { status: deleted.response.status, then: gone.error?.reasons[0]?.code });
