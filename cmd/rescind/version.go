package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set when a release is built, with -ldflags "-X main.version=v1.2.3".
var version = ""

func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}

type versionCmd struct{}

func (versionCmd) Run(g *globals) error {
	if g.JSON {
		return printJSON(g.std.out, map[string]string{"version": programVersion(), "go": runtime.Version()})
	}
	_, err := fmt.Fprintf(g.std.out, "rescind %s (%s %s/%s)\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
