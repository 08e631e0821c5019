// Package e2e drives the real rescind binary as users do: as processes, with
// clients of others, killed and paused. It is a module of its own, so that what
// it needs never reaches who uses rescind.
package e2e
