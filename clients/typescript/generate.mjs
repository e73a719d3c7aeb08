// Types from an OpenAPI document: node generate.mjs openapi.json src/schema.ts
import { readFileSync, writeFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const [source, target] = process.argv.slice(2);
const blob = ts.factory.createTypeReferenceNode("Blob");
const nodes = await openapiTS(JSON.parse(readFileSync(source, "utf8")), {
  // Bytes travel as a Blob; without this they would be a string.
  transform: (schema) => (schema.format === "binary" ? blob : undefined),
});
writeFileSync(target, astToString(nodes));
