package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDemoHoldsEveryStep(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	path, err := exec.LookPath("rescind")
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "demo")
	cmd.Dir = t.TempDir()
	// A file that would make the demo another one, were it read.
	write(t, filepath.Join(cmd.Dir, "rescind.yaml"), "fleet: other\njson: true\nexpect: {payments: 12}\n")
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "RESCIND_WAIT=none", "RESCIND_JSON=false")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	if !strings.Contains(out.String(), "All steps held") {
		t.Errorf("the story has no end:\n%s", out.String())
	}
	if strings.Contains(out.String()+errs.String(), "eyJ") {
		t.Error("the story has a token in it")
	}
}
