// Package archtest keeps the rules of who may import whom.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rescind/rescind"

// pkg is a package as go list shows it.
type pkg struct {
	ImportPath                string
	Imports                   []string
	TestImports, XTestImports []string
	Deps                      []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module+"/")
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list shows %d packages", len(pkgs))
	}
	return pkgs
}

func under(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

// TestOnlyTheirPackagesImportHeavyDependencies: each dependency that is heavy, or
// whose misuse would be costly, has the packages that may import it, tests
// included.
func TestOnlyTheirPackagesImportHeavyDependencies(t *testing.T) {
	for _, rule := range []struct {
		dependency string
		allowed    []string
		inTests    []string
	}{
		{"github.com/nats-io/nats.go/jetstream", []string{"internal/bus"}, nil},
		{"github.com/nats-io/nats-server", []string{"internal/natsd", "internal/bus/bustest"}, []string{"internal/bus"}},
		{"github.com/coder/websocket", nil, []string{"subscriber/guard"}},
		{"go.etcd.io/bbolt", []string{"internal/denylist", "publisher/ledger"}, nil},
		{"google.golang.org/grpc", []string{"subscriber/grpcguard"}, nil},
		{"github.com/envoyproxy/go-control-plane", []string{"subscriber/grpcguard/extauthz"}, []string{"subscriber/grpcguard"}},
		{"github.com/alecthomas/kong", []string{"cmd/rescind"}, nil},
		{"github.com/schollz/progressbar", []string{"cmd/rescind"}, nil},
		{"github.com/HdrHistogram", []string{"cmd/rescind"}, nil},
		{"golang.org/x/term", []string{"cmd/rescind"}, nil},
		{"go.yaml.in/yaml", []string{"cmd/rescind", "publisher/intake"}, []string{"internal/realm"}},
		{"github.com/santhosh-tekuri/jsonschema", nil, []string{"publisher/intake"}},
		{"github.com/prometheus/client_golang", []string{"cmd/rescind", "publisher/intake", "publisher/transmit", "subscriber/guard/sidecar"}, nil},
		{"code.dny.dev/ssrf", []string{"publisher/transmit"}, nil},
	} {
		for _, p := range list(t) {
			refuse(t, p, p.Imports, rule.dependency, rule.allowed)
			refuse(t, p, slices.Concat(p.TestImports, p.XTestImports), rule.dependency, slices.Concat(rule.allowed, rule.inTests))
		}
	}
}

func refuse(t *testing.T, p pkg, imports []string, dependency string, allowed []string) {
	t.Helper()
	if slices.ContainsFunc(allowed, func(a string) bool { return under(p.ImportPath, a) }) {
		return
	}
	for _, i := range imports {
		if under(i, dependency) {
			t.Errorf("%s imports %s; only %v may", p.ImportPath, i, allowed)
		}
	}
}

// forTests is what embedders' own tests import: a fleet, both ends of it.
const forTests = "subscriber/subscribertest"

// TestTheTwoEndsNeverImportEachOther: messages close the loop.
func TestTheTwoEndsNeverImportEachOther(t *testing.T) {
	for _, p := range list(t) {
		if p.ImportPath == forTests {
			continue
		}
		if slices.Contains(p.Deps, module+"/"+forTests) {
			t.Errorf("%s links %s, which is for tests", p.ImportPath, forTests)
		}
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			i = strings.TrimPrefix(i, module+"/")
			if under(p.ImportPath, "publisher") && under(i, "subscriber") || under(p.ImportPath, "subscriber") && under(i, "publisher") {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
}

// TestEventsStandsAlone: the vocabulary imports nothing of ours and no NATS.
func TestEventsStandsAlone(t *testing.T) {
	for _, p := range list(t) {
		if p.ImportPath != "events" {
			continue
		}
		for _, d := range p.Deps {
			if under(d, module) || strings.Contains(d, "nats") {
				t.Errorf("events depends on %s", d)
			}
		}
		return
	}
	t.Fatal("no package events")
}

// TestEmbeddersLinkNoServer: a service that embeds an agent and its guard gets
// neither gRPC nor nats-server nor the publisher nor a metrics library nor what
// draws on terminals with it; a gRPC service's guard, of these only gRPC.
func TestEmbeddersLinkNoServer(t *testing.T) {
	found := 0
	for _, p := range list(t) {
		if !slices.Contains([]string{"subscriber", "subscriber/guard", "subscriber/grpcguard"}, p.ImportPath) {
			continue
		}
		found++
		for _, d := range p.Deps {
			for _, banned := range []string{"google.golang.org/grpc", "github.com/nats-io/nats-server",
				module + "/publisher", "github.com/prometheus", "github.com/alecthomas/kong", "github.com/schollz/progressbar",
				"github.com/HdrHistogram", "golang.org/x/term", "github.com/coder/websocket", "github.com/envoyproxy"} {
				if under(d, banned) && (p.ImportPath != "subscriber/grpcguard" || banned != "google.golang.org/grpc") {
					t.Errorf("%s links %s", p.ImportPath, d)
				}
			}
		}
	}
	if found != 3 {
		t.Fatalf("found %d of the three packages that services embed", found)
	}
}
