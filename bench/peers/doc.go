// Package peers tests the programs below it, which the harness measures sockmill
// beside. README.md says how each is configured and why.
package peers
