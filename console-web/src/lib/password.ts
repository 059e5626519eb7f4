/** The rule for a new password, as the server keeps it: length, three of four classes, not the account. */
export function strongEnough(password: string, account: string): boolean {
  const classes = [/[a-z]/, /[A-Z]/, /[0-9]/, /[^A-Za-z0-9]/].filter((kind) => kind.test(password)).length
  return [...password].length >= 10 && classes >= 3 && password.toLowerCase() !== account.toLowerCase()
}
