// Command program has debug information.
package main

func main() {}
