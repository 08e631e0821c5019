package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// modules installs what node/package-lock.json names.
var modules = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir = "node"
	out, err := cmd.CombinedOutput()
	return string(out), err
})

// node runs a script of node/ with input on its standard input, and reads what it
// prints into output.
func node(t *testing.T, script string, input, output any) {
	t.Helper()
	if out, err := modules(); err != nil {
		t.Fatalf("npm ci in e2e/node (it takes Node 20 and npm): %v\n%s", err, out)
	}
	in, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Dir = "node"
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("node %s: %v\n%s%s", script, err, out.String(), errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), output); err != nil {
		t.Fatalf("node %s printed %s: %v", script, out.String(), err)
	}
}
