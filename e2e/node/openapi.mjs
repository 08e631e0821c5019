// Holds an OpenAPI document against the specification's own schema, and follows its
// references. Input: {"document": …}. Output: {"valid": bool, "version": …, "errors": …}.
import { Validator } from '@seriousme/openapi-schema-validator'

const { document } = JSON.parse(await new Response(process.stdin).text())
const validator = new Validator()
const { valid, errors } = await validator.validate(document)
if (valid) validator.resolveRefs() // throws on one that leads nowhere
console.log(JSON.stringify({ valid, version: validator.version, errors: errors ?? '' }))
