package main

import (
	"bufio"
	"bytes"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/internal/certtest"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"rescind": main}) }

// Scripts run the program as its users do. Beside testscript's own they have the
// commands of scriptCommands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, Setup: setUpScript,
		Cmds: scriptCommands()})
}

func setUpScript(e *testscript.Env) error {
	e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
	// Under the race detector a program sleeps for a second before it ends.
	e.Setenv("GORACE", "atexit_sleep_ms=0")
	e.Values[serversKey{}] = map[string]*server{}
	return nil
}

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

func scriptCommands() map[string]scriptCommand {
	return map[string]scriptCommand{"exits": exitsCommand, "json": jsonCommand, "start": startCommand,
		"halt": haltCommand, "mode": modeCommand, "alter": alterCommand, "await": awaitCommand, "certs": certsCommand}
}

// certs NAME… makes a CA (ca.pem), and a certificate and key for each name, which is
// the common name too.
func certsCommand(ts *testscript.TestScript, _ bool, args []string) {
	ca, err := certtest.NewCA(ts.MkAbs("."), "ca")
	ts.Check(err)
	for _, name := range args {
		ts.Check(ca.Sign(name, pkix.Name{CommonName: name}))
	}
}

// exits CODE PROGRAM ARGS… runs a program that must end with the code.
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		got = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want || neg {
		ts.Fatalf("exited with %d, want %d", got, want)
	}
}

// await REGEXP PROGRAM ARGS… runs a program until its output matches.
func awaitCommand(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no match for %q: %v", args[0], err)
		}
	}
}

// json FILE… refuses what is not one JSON value or several.
func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		dec := json.NewDecoder(strings.NewReader(ts.ReadFile(name)))
		n := 0
		for ; ; n++ {
			err := dec.Decode(new(any))
			if errors.Is(err, io.EOF) {
				break
			}
			ts.Check(err)
		}
		if n == 0 || neg {
			ts.Fatalf("%s has %d JSON values", name, n)
		}
	}
}

// mode OCTAL FILE… checks files' permissions.
func modeCommand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := fmt.Sprintf("%o", info.Mode().Perm()); (got == args[0]) == neg {
			ts.Fatalf("%s has mode %s", name, got)
		}
	}
}

// alter FILE OLD NEW replaces the first OLD in a file, which must be there.
func alterCommand(ts *testscript.TestScript, _ bool, args []string) {
	before := ts.ReadFile(args[0])
	after := strings.Replace(before, args[1], args[2], 1)
	if after == before {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(after), 0o600))
}

// serversKey is where a script's servers are kept.
type serversKey struct{}

// server is a rescind that runs beside the script.
type server struct {
	cmd    *exec.Cmd
	stdout io.Reader
	stderr bytes.Buffer
}

// patience bounds how long a server takes to come up or to end.
const patience = 20 * time.Second

// start NAME ARGS… runs rescind ARGS… --json until halt, and sets NAME_KEY to
// what its greeting says under each key.
func startCommand(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	path, err := exec.LookPath("rescind")
	ts.Check(err)
	s := &server{cmd: exec.Command(path, append(args[1:], "--json")...)}
	s.cmd.Dir = ts.MkAbs(".")
	s.cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + os.Getenv("PATH"), "GORACE=" + ts.Getenv("GORACE")}
	s.cmd.Stderr = &s.stderr
	stdout, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	ts.Defer(func() { _ = s.cmd.Process.Kill() }) // one that halt ended is gone
	watch := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer watch.Stop()
	lines := bufio.NewReader(stdout)
	s.stdout = lines
	greeting, err := lines.ReadBytes('\n')
	if err != nil {
		_ = s.cmd.Wait()
		ts.Fatalf("%s did not come up: %v\n%s", name, err, s.stderr.String())
	}
	said := map[string]string{}
	ts.Check(json.Unmarshal(greeting, &said))
	for key, value := range said {
		ts.Setenv(name+"_"+key, value)
	}
	ts.Value(serversKey{}).(map[string]*server)[name] = s
}

// halt NAME ends a server as an init system does. It must end with 0, soon. What
// it wrote is in NAME.out and NAME.err. It cannot be named stop: testscript has
// one of its own, which ends the script, and takes it first.
func haltCommand(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value(serversKey{}).(map[string]*server)[args[0]]
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	watch := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer watch.Stop()
	out, err := io.ReadAll(s.stdout)
	ts.Check(err)
	err = s.cmd.Wait()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".out"), out, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".err"), s.stderr.Bytes(), 0o600))
	if err != nil {
		ts.Fatalf("%s: %v\n%s", args[0], err, s.stderr.String())
	}
}
