-- Asks the rescind agent about a request: "http-request lua.rescind URL", where URL is
-- that of the agent's /check.
--
-- A request that may pass goes on, with txn.rescind "admitted" and
-- txn.rescind_status what X-Revocation-Status says. Any other is answered here, with
-- what the agent says or, without an agent, with 503.

-- In milliseconds, for one try. HAProxy tries four times.
local timeout = 500

-- What the agent judges by. Nothing else of the request leaves the proxy.
local asked = { "authorization", "origin", "access-control-request-method" }

-- What clients are told of a refusal.
local told = { "www-authenticate", "retry-after", "cache-control", "content-type" }

-- values makes a list of a header's lines, which HAProxy counts from 0. nil is none.
local function values(lines)
    if lines == nil then
        return nil
    end
    local out, i = {}, 0
    while lines[i] ~= nil do
        out[i + 1] = lines[i]
        i = i + 1
    end
    return out
end

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status })
    for _, name in ipairs(told) do
        for _, value in ipairs(values(headers[name]) or {}) do
            reply:add_header(name, value)
        end
    end
    reply:set_body(body)
    txn:done(reply)
end

core.register_action("rescind", { "http-req" }, function(txn, url)
    local had = txn.http:req_get_headers()
    -- For "rescind agent --preflight-from X-Original-Method".
    local headers = { ["x-original-method"] = { txn.f:method() } }
    for _, name in ipairs(asked) do
        headers[name] = values(had[name])
    end

    local answer = core.httpclient():get({ url = url, headers = headers, timeout = timeout })
    local status = answer and answer.status or 0
    if status == 200 then
        local verdict = values(answer.headers["x-revocation-status"]) or {}
        txn:set_var("txn.rescind_status", verdict[1] or "unknown")
        txn:set_var("txn.rescind", "admitted")
    elseif status == 401 or status == 403 then
        refuse(txn, status, answer.headers, answer.body)
    elseif status == 503 and answer.headers["retry-after"] then
        refuse(txn, 503, answer.headers, answer.body)
    else
        refuse(txn, 503, {
            ["retry-after"] = { [0] = "1" },
            ["cache-control"] = { [0] = "no-store" },
            ["content-type"] = { [0] = "application/json" },
        }, '{"error":"temporarily_unavailable","error_description":"The request cannot be decided now"}\n')
    end
end, 1)
