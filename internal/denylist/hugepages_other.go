//go:build !linux

package denylist

func useHugePages([]byte) {}
