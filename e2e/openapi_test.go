package e2e

import (
	"encoding/json"
	"net/http"
	"testing"
)

// What a publisher says of its API is OpenAPI 3.1 by the specification's own schema, as
// a validator that others use has it.
func TestOpenAPIDocumentIsValid(t *testing.T) {
	f := newFleet(t)
	rescind(t, "keys", "ssf", "--dir", f.dir)
	f.pubFlags = append(f.pubFlags, "--global-token-revocation")
	f.start()
	code, body := request(t, http.MethodGet, f.pubURL+"/openapi.json", "", "")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	var document struct {
		Servers []struct{ URL string }
		Paths   map[string]any
	}
	if err := json.Unmarshal([]byte(body), &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Servers) != 1 || document.Servers[0].URL != f.pubURL || document.Paths["/global-token-revocation"] == nil || document.Paths["/ssf/stream"] == nil {
		t.Errorf("servers %v, %d paths", document.Servers, len(document.Paths))
	}
	var result struct {
		Valid   bool
		Version string
		Errors  any
	}
	node(t, "openapi.mjs", map[string]any{"document": json.RawMessage(body)}, &result)
	if !result.Valid || result.Version != "3.1" {
		t.Errorf("OpenAPI %q, valid: %v: %v", result.Version, result.Valid, result.Errors)
	}
	document.Paths["/v1/revocations"] = map[string]any{"post": map[string]any{"responses": "none"}}
	var broken map[string]any
	if err := json.Unmarshal([]byte(body), &broken); err != nil {
		t.Fatal(err)
	}
	broken["paths"] = document.Paths
	if node(t, "openapi.mjs", map[string]any{"document": broken}, &result); result.Valid {
		t.Error("what is broken is valid too")
	}
}
