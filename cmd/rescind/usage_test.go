package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rescind runs a command in this process, and gives its exit code and what it
// wrote.
func rescind(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, streams{strings.NewReader(stdin), &out, &errs})
	return code, out.String(), errs.String()
}

// alone puts the test into a fresh directory that is its home, too.
func alone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	t.Setenv("XDG_DATA_HOME", "")
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "RESCIND_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBadInputIsAUsageError(t *testing.T) {
	alone(t)
	write(t, "key", "k")
	for args, want := range map[string]string{
		"":                                       "expected one of",
		"frob":                                   "unexpected argument frob",
		"revoke":                                 "expected one of",
		"revoke frob":                            "unexpected argument frob",
		"keys":                                   "expected one of",
		"audit":                                  "expected one of",
		"config":                                 "expected",
		"streams":                                "expected",
		"apikeys":                                "expected",
		"status --frob":                          "unknown flag --frob",
		"up --ssf-allow 10.0.0.1":                "--ssf-allow",
		"up --grpc-listen nowhere":               "--grpc-listen must be HOST:PORT or unix:/path",
		"agent --preflight-from=:method":         `--preflight-from: ":method" is neither the name of a header nor "method"`,
		"agent --preflight-from origin":          "--preflight-from: Origin is the client's to set",
		"publisher --public-url https://x/?a":    "--public-url",
		"status extra":                           "unexpected argument extra",
		"status --log-level loud":                "--log-level must be one of",
		"status --log-format xml":                "--log-format must be one of",
		"status --fleet a.b":                     "--fleet",
		"status --publisher here":                "--publisher must be a URL",
		"status --publisher ftp://x":             "--publisher must be a URL",
		"status --dir=":                          "--dir must not be empty",
		"check":                                  `expected "<token>"`,
		"check=":                                 "unexpected argument",
		"check -":                                "no token on standard input",
		"check x --agent here":                   "--agent must be a URL",
		"check x --agent unix:":                  "--agent must be a URL",
		"check x --agent http://":                "--agent must be a URL",
		"token":                                  "--user",
		"token --user a --ttl soon":              "--ttl",
		"token --user a --ttl=-1h":               "--ttl must be above zero",
		"token --user a --ttl 0s":                "--ttl must be above zero",
		"token --user a --realm nope":            "demo, partner",
		"token --user a --alg HS256":             "--alg must be one of",
		"token --user=":                          "needs a user",
		"revoke token":                           `expected "<token>"`,
		"revoke token -":                         "no token on standard input",
		"revoke tokens":                          "no tokens to revoke",
		"revoke session s":                       "--realm",
		"revoke client c":                        "--realm",
		"revoke user":                            `expected "<user>"`,
		"revoke realm":                           `expected "<realm>"`,
		"revoke user a --wait some":              "--wait",
		"revoke user a --wait=-1":                "--wait",
		"revoke user a --timeout soon":           "--timeout",
		"revoke user a --timeout=-1s":            "--timeout must not be negative",
		"revoke user a --not-before now":         "--not-before",
		"revoke user a --not-before=-5":          "--not-before",
		"streams apply --replicas 2":             "--replicas",
		"streams apply --max-bytes=-1":           "--max-bytes",
		"streams apply --max-age=-1h":            "--max-age",
		"keys new --kinds frob":                  "--kinds",
		"keys new --id a.b":                      "publisher id",
		"apikeys new":                            `expected "<id>"`,
		"apikeys new admin":                      "taken",
		"apikeys new a:b":                        "id: must be",
		"apikeys new a --kinds frob":             "--kinds",
		"audit export":                           `expected "<file>"`,
		"audit verify":                           `expected "<file>"`,
		"audit tail --keys http://127.evil.org/": "plain http",
		"up --listen here":                       "--listen must be HOST:PORT",
		"up --listen :99999":                     "--listen must be HOST:PORT",
		"up --listen=":                           "--listen must be HOST:PORT",
		"up --agent-listen here":                 "--agent-listen must be HOST:PORT",
		"up --agent-listen unix:":                "--agent-listen must be HOST:PORT",
		"up --nats-listen here":                  "--nats-listen must be HOST:PORT",
		"up --public-url here":                   "--public-url must be a URL",
		"nats --nats-listen here":                "--nats-listen must be HOST:PORT",
		"nats --monitor-listen here":             "--monitor-listen must be HOST:PORT",
		"publisher --listen here":                "--listen must be HOST:PORT",
		"publisher --public-url ::":              "--public-url must be a URL",
		"publisher --receipt-after=-1s":          "--receipt-after",
		"publisher --keys http://example.com/k":  "plain http",
		"agent --agent-listen here":              "--agent-listen must be HOST:PORT",
		"agent --service=":                       "--service",
		"agent --bound=-1s":                      "--bound",
		"agent --max-staleness=-1s":              "--max-staleness must be 0s or at least 2s",
		"up --max-staleness 1s":                  "--max-staleness must be 0s or at least 2s",
		"agent --cache-tokens=-1":                "--cache-tokens must not be negative",
		"agent --cache-tokens many":              "--cache-tokens",
		"agent --keys http://localhost@evil.org": "plain http",
		"agent --keys http://127.0.0.1.evil.org": "plain http",
		"bench extra":                            "unexpected argument extra",
		"bench --for soon":                       "--for",
		"bench --for=-1s":                        "--for must be",
		"bench --for 25h":                        "--for must be",
		"bench --receipts=-1":                    "--receipts must be",
		"bench --receipts many":                  "--receipts",
		"bench --revoke=-1":                      "--revoke must be",
		"bench --revoke 10001":                   "--revoke must be",
		"bench --timeout 0s":                     "--timeout must be",
		"bench --timeout 31s":                    "--timeout must be",
		"bench --keys http://example.com/k":      "plain http",
		"--config nowhere.yaml version":          "nowhere.yaml",
		"--config=nowhere.yaml version":          "nowhere.yaml",
		"version extra":                          "unexpected argument extra",
	} {
		t.Run(args, func(t *testing.T) {
			code, out, errs := rescind(t, "", strings.Fields(args)...)
			if code != exitUsage || out != "" {
				t.Errorf("exited with %d, want %d; printed %q, %q", code, exitUsage, out, errs)
			}
			if !strings.HasPrefix(errs, "rescind: ") || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, want) {
				t.Errorf("said %q, want one line with %q", errs, want)
			}
		})
	}
}

func TestTokenThatIsNoneIsAUsageError(t *testing.T) {
	alone(t)
	for _, raw := range []string{"", "a b", "a\nb", "a\x00", "é"} {
		if code, _, errs := rescind(t, "", "check", raw); code != exitUsage || !strings.Contains(errs, "no token") {
			t.Errorf("check %q exited with %d: %s", raw, code, errs)
		}
	}
}

func TestWhatIsNotThereIsAFailureThatSaysWhatToDo(t *testing.T) {
	dir := alone(t)
	write(t, "key", "k")
	write(t, "file", "")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// A port that nobody listens on.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	code, _, errs := rescind(t, "", "keys", "new", "--dir", "made", "--id", "p")
	if code != exitDone {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"status", exitFailed, "--api-key-file"},
		{"revoke user a", exitFailed, "--api-key-file"},
		{"revoke user a --api-key-file none", exitFailed, "none"},
		{"revoke user a --api-key-file file", exitFailed, "does not hold one key"},
		{"status --api-key-file key --publisher http://" + nobody, exitFailed, "asking the publisher"},
		{"revoke user a --api-key-file key --publisher http://" + nobody, exitFailed, "asking the publisher"},
		{"revoke tokens --file none", exitFailed, "none"},
		{"check x --agent http://" + nobody, exitUnconfirmed, "asking the agent"},
		{"check x --agent unix:" + dir + "/none", exitUnconfirmed, "asking the agent"},
		{"streams apply --nats nats://" + nobody, exitFailed, "connecting to NATS at nats://" + nobody},
		{"audit tail --dir made --nats nats://" + nobody, exitFailed, "connecting to NATS"},
		{"audit tail", exitFailed, "publishers.jwks"},
		{"bench --dir made --nats nats://" + nobody, exitFailed, "connecting to NATS"},
		{"bench", exitFailed, "publishers.jwks"},
		{"audit verify file", exitFailed, "publishers.jwks"},
		{"audit verify none --dir made", exitFailed, "none"},
		{"publisher", exitFailed, "rescind keys new"},
		{"keys rotate", exitFailed, "rescind keys new"},
		{"keys jwks", exitFailed, "publishers.jwks"},
		{"agent", exitFailed, "rescind keys jwks"},
		{"up --listen " + taken.Addr().String(), exitFailed, "publisher: listen tcp " + taken.Addr().String()},
		{"publisher --dir made --listen " + taken.Addr().String(), exitFailed, "address already in use"},
		{"publisher --dir made --listen 127.0.0.1:0 --admin-key none", exitFailed, "admin key: open none"},
		{"agent --dir made --agent-listen unix:" + filepath.Join(dir, "file"), exitFailed, "is not a socket"},
		{"nats --nats-listen " + taken.Addr().String(), exitFailed, taken.Addr().String()},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, out, errs := rescind(t, "", strings.Fields(c.args)...)
			last := errs[strings.LastIndex(strings.TrimSpace(errs), "\n")+1:]
			if code != c.code || out != "" || !strings.HasPrefix(last, "rescind: ") || !strings.Contains(last, c.want) {
				t.Errorf("exited with %d, want %d with %q; printed %q, %q", code, c.code, c.want, out, errs)
			}
		})
	}
}

func TestHelpOfEveryCommandExitsWithZero(t *testing.T) {
	alone(t)
	for _, command := range []string{"", "up", "demo", "nats", "streams apply", "publisher", "agent", "revoke", "revoke token",
		"revoke tokens", "revoke session", "revoke user", "revoke realm", "revoke client", "revoke all", "check", "status",
		"audit", "audit tail", "audit export", "audit verify", "keys", "keys new", "keys rotate", "keys jwks", "apikeys new",
		"token", "config check", "bench", "version"} {
		code, out, errs := rescind(t, "", append(strings.Fields(command), "--help")...)
		if code != exitDone || errs != "" || !strings.Contains(out, "Usage: rescind "+command) {
			t.Errorf("rescind %s --help exited with %d: %s%s", command, code, out, errs)
		}
	}
}
