say() {
  echo "included: $1"
}
