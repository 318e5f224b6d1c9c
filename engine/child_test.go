package engine

func serveAsChild() bool { return false }
