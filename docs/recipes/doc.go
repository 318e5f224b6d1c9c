// Package recipes answers questions that many programs have, each with a small
// server that the tests run. It is a module of its own, since gin, echo, chi and a
// library for JWT are no business of the engine. See README.md.
package recipes
