// Lets adopt.go declare functions without bodies.
