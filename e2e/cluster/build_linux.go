package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// build builds the node as DIR/node.
func build(ctx context.Context, node, dir string) error {
	say("building %s", node)
	c := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "node"), ".")
	c.Dir, c.Stdout, c.Stderr = node, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), "GOWORK=off")
	if err := c.Run(); err != nil {
		return fmt.Errorf("go build in %s: %w", node, err)
	}
	return nil
}
