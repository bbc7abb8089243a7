# Bash completion for modeld.

_modeld() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  case $prev in
    --config)
      compopt -o filenames 2>/dev/null
      COMPREPLY=($(compgen -f -- "$cur"))
      return
      ;;
    --runtime-dir | --state-dir | --root)
      compopt -o filenames 2>/dev/null
      COMPREPLY=($(compgen -d -- "$cur"))
      return
      ;;
    --host-capacity)
      COMPREPLY=($(compgen -W '50% 75% 8GiB 16GiB' -- "$cur"))
      return
      ;;
  esac
  COMPREPLY=($(compgen -W '--config --runtime-dir --state-dir --root --host-capacity --check-config --dump-config --version --help' -- "$cur"))
}

complete -F _modeld modeld
